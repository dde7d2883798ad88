"""Log lines: for people, or one JSON object each; set up in this one place."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

import structlog

from vh5d.policy.secrets import without_passwords
from vh5d.policy.units import format_size

Format = Literal["text", "json"]

#: Fields of a record that are not the event's own.
_FRAME = ("timestamp", "level", "logger", "event", "process")
#: Steps of a capture on its way: for who follows one through the log, by its id.
STEPS = frozenset({"asked", "begun", "unchanged"})
#: What a capture that went well has to say all the same, as `warning`.
NOTED = "to be noted"
_QUIET = ("celery", "kombu", "amqp", "watchdog", "asyncio")


def configure(write: Callable[[str], None], style: Format, level: int = logging.INFO) -> None:
    """Send every log line of this process, as text, to `write`.

    Parameters
    ----------
    write
        Gets a line without its end; from any thread.
    style
        How a line looks.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    render = json_line if style == "json" else text_line
    handler = _Handler(write)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                lambda _logger, _name, record: render(dict(record)),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def json_line(record: dict[str, Any]) -> str:
    """A record as one JSON object."""
    return json.dumps(record, default=str)


def text_line(record: dict[str, Any]) -> str:
    """A record as a line for people: local time, what happened, the rest as name=value."""
    moment = _local(record.get("timestamp")).strftime("%Y-%m-%d %H:%M:%S")
    level = str(record.get("level", "info"))
    text = printable(sentence(record))
    return f"{moment} {text}" if level in {"info", "debug"} else f"{moment} {level}: {text}"


def sentence(record: dict[str, Any]) -> str:
    """What happened, without when."""
    if record.get("event") == "version":
        return (
            f"{record['path']} {record['version']} "
            f"+{format_size(record['bytes_added'])} of {format_size(record['source_bytes'])} "
            f"in {record['seconds']:.2f} s"
            + (" (kept by bytes)" if record.get("kept_as") == "bytes" else "")
        )
    rest = {name: value for name, value in record.items() if name not in _FRAME}
    text = str(record.get("event", ""))
    if text == NOTED and "warning" in rest:
        text = str(rest.pop("warning"))
    for name in ("path", "child"):
        if name in rest:
            text = f"{rest.pop(name)}: {text}"
    for name in ("reason", "error", "warning"):
        if name in rest:
            text += f": {rest.pop(name)}"
    return " ".join([text, *(f"{name}={value}" for name, value in rest.items())])


def printable(text: str) -> str:
    """Text that does nothing to a terminal, and that any encoding can write."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


def parse(line: str, process: str) -> dict[str, Any]:
    """A line that a child of ours wrote; one that is no record becomes a warning."""
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict) or "event" not in record:
        # Celery says "worker: Warm shutdown" past every logger.
        record = {"event": line, "level": "debug" if line.startswith("worker: ") else "warning"}
    return {**record, "process": process}


def _local(timestamp: Any) -> datetime:
    try:
        return datetime.fromisoformat(str(timestamp)).astimezone()
    except ValueError:
        return datetime.now().astimezone()


class _Handler(logging.Handler):
    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._write(without_passwords(self.format(record)))
        except Exception:  # noqa: BLE001 - as in logging: a lost line stops nothing
            self.handleError(record)
