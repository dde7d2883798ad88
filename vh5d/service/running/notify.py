"""Telling systemd how the service is: sd_notify(3), without a library."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """Sends states to the socket that systemd names; without one, nowhere.

    Parameters
    ----------
    environment
        With `NOTIFY_SOCKET` and `WATCHDOG_USEC`, as systemd sets them.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the abstract namespace (systemd.exec(5)).
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog_usec = int(environment.get("WATCHDOG_USEC") or 0)

    @property
    def watchdog_interval(self) -> float | None:
        """Seconds between two signs of life: half of what systemd tolerates; None: not wanted."""
        return self._watchdog_usec / 2e6 if self._watchdog_usec else None

    def ready(self, status: str = "") -> None:
        """The service works."""
        self._send("READY=1", status)

    def reloading(self) -> None:
        """Another configuration is about to be followed; `ready` ends this (sd_notify(3))."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The service is about to end."""
        self._send("STOPPING=1", "stopping")

    def alive(self) -> None:
        """A sign of life."""
        self._send("WATCHDOG=1")

    def status(self, status: str) -> None:
        """One line for `systemctl status`."""
        self._send("", status)

    def _send(self, state: str, status: str = "") -> None:
        if not self._address:
            return
        lines = [state] if state else []
        if status:
            lines.append(f"STATUS={status}")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            try:
                sender.sendto("\n".join(lines).encode(), self._address)
            except OSError:
                return  # systemd went away; the service does not depend on it
