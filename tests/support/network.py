"""Hosts: network namespaces, each joined to this one by a pair of virtual cables."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Host:
    """A network namespace.

    Parameters
    ----------
    name
        Of the namespace.
    gateway
        The address of this machine, as seen from there.
    mounts
        Directories of this machine by the name that they have there.
    """

    name: str
    gateway: str
    mounts: tuple[tuple[Path, Path], ...] = ()

    @property
    def prefix(self) -> list[str]:
        """What runs a program there: with a name of its own, and its own mounts."""
        setting = f"hostname {self.name}"
        for there, here in self.mounts:
            setting += f" && mount --bind {shlex.quote(str(here))} {shlex.quote(str(there))}"
        own = ["unshare", "--uts", "--mount", "sh", "-c", f'{setting} && exec "$@"', "sh"]
        return ["ip", "netns", "exec", self.name, *own]

    def cable(self, state: str) -> None:
        """Pull the cable out (`down`), or put it in (`up`)."""
        _run("ip", "link", "set", _cable(self.name), state)


@contextlib.contextmanager
def host(number: int) -> Iterator[Host]:
    """A host of this number (0 to 60), on a network of its own."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "unshare", "hostname"))):
        pytest.skip("network namespaces need root, iproute2, util-linux and hostname")
    name = f"vh5d-{os.getpid()}-{number}"
    here, there = _cable(name), f"{_cable(name)}b"
    # Addresses for tests of networks (RFC 2544), four for each host.
    network, base = f"198.18.{os.getpid() % 256}", 4 * number
    gateway, address = f"{network}.{base + 1}", f"{network}.{base + 2}"
    made = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True)
    if made.returncode != 0:
        pytest.skip(f"no network namespaces: {made.stderr.decode().strip()}")
    try:
        _run("ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns", name)
        _run("ip", "address", "add", f"{gateway}/30", "dev", here)
        _run("ip", "link", "set", here, "up")
        for command in (
            ["address", "add", f"{address}/30", "dev", there],
            ["link", "set", there, "up"],
            ["link", "set", "lo", "up"],
        ):
            _run("ip", "-n", name, *command)
        yield Host(name, gateway)
    finally:
        # The namespace lives on for as long as a process in it does.
        subprocess.run(["ip", "link", "delete", here], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "delete", name], check=False)


def _cable(name: str) -> str:
    # IFNAMSIZ: fifteen characters.
    _, pid, number = name.split("-")
    return f"v{pid}n{number}"


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stderr}"
