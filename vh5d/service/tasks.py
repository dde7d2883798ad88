"""Captures as Celery tasks: the only module that knows Celery.

A task carries a path and the name of a policy, nothing else. Its message is acknowledged when it
ended, whatever came of it: what is to be tried again stands in the catalog, which also counts
the attempts, so no task can go round for ever.
"""

from __future__ import annotations

import logging
import random
import warnings
from pathlib import Path
from typing import Any

import structlog
from celery import Celery, signals
from celery.exceptions import SecurityWarning, TimeLimitExceeded, WorkerLostError
from kombu.exceptions import OperationalError

from vh5d.errors import BrokerError
from vh5d.policy import Policy
from vh5d.service.catalog import (
    LONGEST_CAPTURE,
    PREFIX,
    QUEUE,
    REDIS_TIMEOUT,
    Catalog,
    connect,
)

TASK = "vh5d.capture"
#: Longer than any task: a second worker must not get a message that the first still works on.
VISIBILITY_TIMEOUT = LONGEST_CAPTURE + 3600
#: A child is replaced after so many captures: whatever HDF5 leaks, leaks no further.
TASKS_PER_CHILD = 500

log = structlog.stdlib.get_logger(__name__)


def make_app(broker: str) -> Celery:
    """A Celery application for a broker.

    Parameters
    ----------
    broker
        `redis://…`, `rediss://…` or `unix:///path/to/socket`.
    """
    app = Celery("vh5d", broker=_celery_url(broker), set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_default_queue=QUEUE,
        task_acks_late=True,
        task_acks_on_failure_or_timeout=True,
        task_time_limit=LONGEST_CAPTURE,
        worker_prefetch_multiplier=1,
        worker_max_tasks_per_child=TASKS_PER_CHILD,
        worker_proc_alive_timeout=60.0,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=REDIS_TIMEOUT,
        broker_transport_options={
            "global_keyprefix": PREFIX,
            "visibility_timeout": VISIBILITY_TIMEOUT,
            "socket_timeout": 30.0,
            "socket_connect_timeout": REDIS_TIMEOUT,
            "socket_keepalive": True,
        },
    )
    return app


class Queue:
    """Puts captures into the queue, one a file at a time."""

    def __init__(self, app: Celery, catalog: Catalog) -> None:
        self._app = app
        self._catalog = catalog

    def put(self, path: Path, policy: str, cause: str) -> bool:
        """Have a worker capture `path`; False: it is in the queue already.

        Raises
        ------
        BrokerError
            The broker cannot be reached.
        """
        if not self._catalog.claim(path, policy, cause):
            return False
        try:
            self._app.send_task(TASK, args=[str(path), policy], retry=False)
        except OperationalError as error:
            self._catalog.unclaim(path)
            raise BrokerError(f"the queue cannot be reached: {error}") from error
        return True


def run_worker(broker: str, policies: dict[str, Policy], *, concurrency: int) -> int:
    """Work on captures until SIGTERM or SIGINT; the exit status.

    Parameters
    ----------
    concurrency
        Captures at a time, each in a process of its own: a hostile file ends that one.
    """
    # In the parent, so that a child begins its first capture at once. No file is open yet.
    from vh5d.service.attempt import Attempt

    app = make_app(broker)
    children: dict[str, Attempt] = {}

    @app.task(name=TASK)
    def capture_source(path: str, policy: str) -> None:
        children["attempt"](Path(path), policy)

    @signals.worker_process_init.connect(weak=False)
    def begin_child(**_: Any) -> None:
        # A connection of its own: one that is shared after a fork mixes up its answers.
        random.seed()
        catalog = Catalog(connect(broker))
        children["attempt"] = Attempt(policies, catalog, random.random)

    @signals.task_failure.connect(weak=False)
    def note_death(exception: Any = None, args: Any = None, **_: Any) -> None:
        if isinstance(exception, WorkerLostError | TimeLimitExceeded):
            log.error("a capture ended its process", path=args[0], error=str(exception))
            Catalog(connect(broker)).cut_short(Path(args[0]), str(exception))

    @signals.setup_logging.connect(weak=False)
    def keep_logging(**_: Any) -> None:
        for name in ("celery", "kombu", "amqp"):
            logging.getLogger(name).setLevel(logging.WARNING)

    # JSON only, so what it warns root of cannot be sent.
    warnings.simplefilter("ignore", SecurityWarning)
    worker = app.Worker(
        pool="prefork",
        concurrency=concurrency,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        optimization="fair",
        quiet=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


def _celery_url(broker: str) -> str:
    if broker.startswith("unix://"):
        return "redis+socket://" + broker.removeprefix("unix://")
    return broker
