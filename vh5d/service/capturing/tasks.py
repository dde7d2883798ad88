"""Captures as Celery tasks: the only module that knows Celery.

A task carries a path and the name of a policy, nothing else. Its message is acknowledged when it
ended, whatever came of it: what is to be tried again stands in the catalog, which also counts
the attempts, so no task can go round for ever.
"""

from __future__ import annotations

import logging
import random
import secrets
import warnings
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import redis
import structlog
from celery import Celery, signals
from celery.exceptions import SecurityWarning, TimeLimitExceeded, WorkerLostError
from celery.worker import state
from celery.worker.consumer import Consumer
from celery.worker.request import Request
from kombu.exceptions import OperationalError

from vh5d.errors import BrokerError
from vh5d.policy import Policy
from vh5d.policy.path_maps import PathMaps
from vh5d.service.capturing.keeper import Keeper
from vh5d.service.capturing.message import read_message
from vh5d.service.catalog.address import REDIS_TIMEOUT, celery_settings, connect
from vh5d.service.catalog.catalog import Catalog
from vh5d.service.catalog.queues import PRIORITIES, QUEUE, Priority
from vh5d.service.catalog.records import PREFIX
from vh5d.service.catalog.source import RETRY
from vh5d.service.running.notify import Notifier
from vh5d.service.running.pulse import LifeSigns, Pulse
from vh5d.service.running.signals import StopRequests
from vh5d.service.running.surroundings import wall_clock

TASK = "vh5d.capture"
#: Longest that a capture may take, in seconds: its process is killed then.
LONGEST_CAPTURE = 6 * 3600
#: Longer than any task: a second worker must not get a message that the first still works on.
VISIBILITY_TIMEOUT = LONGEST_CAPTURE + 3600
#: Seconds that any capture may take, and the bytes a second that the slowest disk gives.
SHORTEST_LIMIT = 120.0
SLOWEST = 1e6
#: Seconds from a message that could not be acknowledged to a new connection: others may follow.
RECONNECT_PAUSE = 0.2
#: Seconds between two beats of the worker's loop.
BEAT = 1.0
#: A child is replaced after so many captures: whatever HDF5 leaks, leaks no further.
TASKS_PER_CHILD = 500
#: Of a capture's id: sixteen hexadecimal digits, or what an earlier release called it (a UUID).
LONGEST_ID = 36

log = structlog.stdlib.get_logger(__name__)


def make_app(broker: str) -> Celery:
    """A Celery application for a broker.

    Parameters
    ----------
    broker
        `redis://…`, `rediss://…`, `sentinel://…` or `unix:///path/to/socket`.
    """
    address = celery_settings(broker)
    transport = address.pop("broker_transport_options")
    app = Celery("vh5d", set_as_current=False)
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
            **transport,
        },
        **address,
    )
    return app


class Queue:
    """Puts captures into the queue, one a file at a time."""

    def __init__(self, app: Celery, catalog: Catalog) -> None:
        self._app = app
        self._catalog = catalog

    def put(
        self,
        path: Path,
        policy: str,
        cause: str,
        *,
        queue: str = QUEUE,
        priority: Priority = "normal",
    ) -> bool:
        """Have a worker of `queue` capture `path`; False: it is in the queue already.

        Raises
        ------
        BrokerError
            The broker cannot be reached.
        """
        # An attempt after a failed one goes on under its id.
        capture = self._catalog.claims.capture_of(path) if cause == RETRY else None
        capture = capture or secrets.token_hex(8)
        if not self._catalog.claims.take(path, policy, cause, capture, queue=queue):
            return False
        log.info("asked", path=str(path), policy=policy, cause=cause, capture=capture)
        try:
            self._app.send_task(
                TASK,
                args=[self._catalog.shared(path), policy],
                task_id=capture,
                queue=queue,
                priority=PRIORITIES[priority],
                retry=False,
                time_limit=time_limit(path),
            )
        except OperationalError as error:
            self._catalog.claims.give_back(path)
            raise BrokerError(f"the queue cannot be reached: {error}") from error
        return True


def time_limit(path: Path) -> float:
    """Seconds that a capture of the file may take: some, and some for each byte.

    A damaged file may keep the HDF5 library busy for ever.
    """
    try:
        size = path.stat().st_size
    except OSError:
        return LONGEST_CAPTURE
    return min(LONGEST_CAPTURE, SHORTEST_LIMIT + size / SLOWEST)


def run_worker(
    broker: str,
    policies: dict[str, Policy],
    *,
    concurrency: int,
    notifier: Notifier,
    stop: StopRequests,
    queues: Sequence[str] = (QUEUE,),
    maps: PathMaps | None = None,
    present: Callable[[], datetime] = wall_clock,
) -> int:
    """Work on captures until SIGTERM or SIGINT, or another request; the exit status.

    Parameters
    ----------
    concurrency
        Captures at a time, each in a process of its own: a hostile file ends that one.
    notifier
        Is told when the worker is connected, that it lives, and when it ends.
    stop
        Requests to stop; those by signals, which Celery hears, are added.
    queues
        Where to take captures from.
    maps
        What this host calls otherwise than the queue.
    present
        The clock on the wall: versions have their times from it.
    """
    # In the parent, so that a child begins its first capture at once. No file is open yet.
    from vh5d.service.capturing.attempt import Attempt
    from vh5d.service.capturing.limits import confine

    app = make_app(broker)
    names = maps or PathMaps()
    children: dict[str, Attempt] = {}
    about = {"queues": list(queues), "concurrency": concurrency}
    keeper = Keeper(Catalog(connect(broker), maps=names), about)
    pulse = Pulse()
    signs = LifeSigns(notifier, lambda: pulse.ailment() or keeper.ailment())

    request = _request_class(keeper, lambda: worker.hub, names)

    @app.task(name=TASK, bind=True, Request=request)
    def capture_source(self: Any, path: str, policy: str) -> None:
        with structlog.contextvars.bound_contextvars(capture=_name_of(self.request.id)):
            children["attempt"](Path(names.local(path)), policy)

    @signals.worker_process_init.connect(weak=False)
    def begin_child(**_: Any) -> None:
        # A connection of its own: one that is shared after a fork mixes up its answers.
        random.seed()
        confine()
        catalog = Catalog(connect(broker), maps=names)
        children["attempt"] = Attempt(policies, catalog, random.random, present)

    @signals.setup_logging.connect(weak=False)
    def keep_logging(**_: Any) -> None:
        for name in ("celery", "kombu", "amqp"):
            logging.getLogger(name).setLevel(logging.WARNING)

    @signals.worker_ready.connect(weak=False)
    def be_ready(**_: Any) -> None:
        stop.install_hangup()  # instead of Celery's
        # Not sooner: a child forked while a thread imports a module waits for that for ever.
        keeper.start()
        signs.begin(f"captures {concurrency} files at a time")

    @signals.worker_shutting_down.connect(weak=False)
    def be_stopping(**_: Any) -> None:
        stop.request()
        signs.stopping()
        keeper.drain()

    def heed() -> None:
        if stop.is_set() and state.should_stop is None:
            signs.stopping(for_good=stop.count > 0)
            keeper.drain()
            state.should_stop = 0

    # JSON only, so what it warns root of cannot be sent.
    warnings.simplefilter("ignore", SecurityWarning)
    app.conf.worker_consumer = _consumer_class(pulse, heed)
    worker = app.Worker(
        pool="prefork",
        concurrency=concurrency,
        queues=list(queues),
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        optimization="fair",
        quiet=True,
    )
    worker.start()
    keeper.stop()
    signs.end()
    return int(worker.exitcode or 0)


def _request_class(keeper: Keeper, loop: Callable[[], Any], maps: PathMaps) -> type[Any]:
    """Tasks as the worker's parent process sees them: what has to be told of their end, is.

    Parameters
    ----------
    loop
        Returns the worker's event loop.
    maps
        What this host calls otherwise than the queue.
    """

    class CaptureRequest(Request):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            keeper.holds(self.message.delivery_tag, self.args[0])

        @property
        def path(self) -> Path:
            """What is captured."""
            return Path(maps.local(self.args[0]))

        def on_accepted(self, pid: int, time_accepted: float) -> None:
            keeper.began(self.id, self.path)
            super().on_accepted(pid, time_accepted)

        def on_failure(self, exc_info: Any, *args: Any, **options: Any) -> Any:
            keeper.ended(self.id)
            path, error = self.path, exc_info.exception
            error = getattr(error, "exc", error)
            died = isinstance(error, WorkerLostError | TimeLimitExceeded | SystemExit)
            if died:
                self.complain(str(error))
            keeper.tell(lambda catalog: catalog.captures.cut_short(path, str(error), blame=died))
            return super().on_failure(exc_info, *args, **options)

        def on_timeout(self, soft: bool, timeout: float) -> None:  # noqa: FBT001 - Celery's
            super().on_timeout(soft, timeout)
            if not soft:
                path = self.path
                keeper.ended(self.id)
                error = f"took longer than {timeout:.0f} s"
                self.complain(error)
                keeper.tell(lambda catalog: catalog.captures.cut_short(path, error))

        def complain(self, error: str) -> None:
            about = {"path": str(self.path), "capture": _name_of(self.id)}
            log.error("a capture ended its process", error=error, **about)

        def acknowledge(self) -> None:
            keeper.ended(self.id)
            keeper.holds_no_more(self.message.delivery_tag)
            super().acknowledge()
            # The loop acknowledges it in its next round: look in the one after that.
            loop().call_soon(lambda: loop().call_soon(self.check_acknowledged))

        def check_acknowledged(self) -> None:
            """Begin anew with the broker if the message could not be acknowledged.

            Celery logs that and goes on: the connection would count the message as at work for
            ever, and fetch no other when so many are.
            """
            if self.message.acknowledged:
                return
            tag = self.message.delivery_tag
            keeper.tell(lambda catalog: catalog.recovery.acknowledge(tag))
            loop().call_later(RECONNECT_PAUSE, _end_connection)

    return CaptureRequest


class _Doorkeeper(Consumer):  # type: ignore[misc]
    """Lets nothing in but our messages: what Celery chokes on ended the worker."""

    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Any], None]:
        handle = super().create_task_handler(*args, **options)
        passing = (*self.connection_errors, *self.app.connection().channel_errors)

        def on_task_received(message: Any) -> None:
            try:
                refusal = None if _is_ours(message) else "no path and policy as JSON"
                if refusal is None:
                    handle(message)
            except passing:
                raise
            except Exception as error:  # noqa: BLE001 - anything may be in a message
                refusal = f"{error!r:.200}"
            if refusal is not None:
                log.error("refused: not a message of ours", reason=refusal)
                message.reject_log_error(logging.getLogger(__name__), self.connection_errors)

        return on_task_received


def _consumer_class(pulse: Pulse, heed: Callable[[], None]) -> type[_Doorkeeper]:
    """The doorkeeper whose loop beats, and heeds requests."""

    class BeatingConsumer(_Doorkeeper):
        def register_with_event_loop(self, hub: Any) -> None:
            super().register_with_event_loop(hub)
            pulse.beat()
            hub.call_repeatedly(BEAT, pulse.beat)
            hub.call_repeatedly(BEAT, heed)

        def ensure_connected(self, conn: Any) -> Any:
            # It tries for ever: a broker that is away is no reason to start anew.
            with pulse.waiting():
                return super().ensure_connected(conn)

    return BeatingConsumer


def _is_ours(message: Any) -> bool:
    if message.content_type != "application/json" or message.headers.get("task") != TASK:
        return False
    arguments, others, _ = message.decode()
    return not others and isinstance(arguments, list) and read_message(arguments) is not None


def _name_of(capture: str) -> str:
    """Its id, for the log: whoever can write to the broker may have made it up."""
    return str(capture)[:LONGEST_ID]


def _end_connection() -> None:
    """Raise what a worker's event loop takes for the end of its connection."""
    raise redis.ConnectionError("a message could not be acknowledged")
