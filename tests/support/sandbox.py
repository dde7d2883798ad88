"""Run a program as a unit's sandbox would have it, where there is no systemd to run the unit.

    python -m tests.support.sandbox UNIT [--write DIR]... -- COMMAND...

Applied are, from the unit's own settings: all of the file system read-only but each DIR
(`ProtectSystem=strict`) and an empty /var/tmp, `ProtectProc`, no capabilities, `NoNewPrivileges`,
`UMask`, and by seccomp `SystemCallFilter`, `MemoryDenyWriteExecute`, `RestrictAddressFamilies` and
`RestrictSUIDSGID`. Not applied: another user, a private /tmp and /dev, what protects the kernel's
settings. Needs root.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

# linux/prctl.h, linux/sched.h, sys/mount.h, sys/mman.h
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, LAST_CAPABILITY = 24, 38, 40
CLONE_NEWNS = 0x00020000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
PROT_WRITE, PROT_EXEC = 2, 4
# seccomp.h of libseccomp
ALLOW, REFUSE = 0x7FFF0000, 0x00050000
EQUAL, MASKED_EQUAL = 4, 7
SUID_SGID = (0o4000, 0o2000, 0o6000)


class Comparison(ctypes.Structure):
    """`struct scmp_arg_cmp`."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    )


def why_not() -> str | None:
    """Why this cannot be done here, if so."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux"
    if not shutil.which("systemd-analyze"):
        return "systemd-analyze says what the sets of system calls are"
    try:
        _libseccomp()
    except OSError:
        return "needs libseccomp"
    done = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    return None if done.returncode == 0 else "needs a mount namespace"


def settings(unit: Path) -> dict[str, list[str]]:
    """What `[Service]` says, in order."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in unit.read_text().splitlines():
        if line.startswith("["):
            section = line
        elif section == "[Service]" and "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def confine(unit: Path, writable: Sequence[Path]) -> None:
    """Confine this process, and what it becomes."""
    said = settings(unit)
    assert said["ProtectSystem"] == ["strict"]
    _mounts(writable)
    os.umask(int(said["UMask"][0], 8))
    assert said["CapabilityBoundingSet"] == [""]
    for capability in range(LAST_CAPABILITY + 1):
        _check(_libc().prctl(PR_CAPBSET_DROP, capability, 0, 0, 0))
    assert said["NoNewPrivileges"] == ["yes"]
    _check(_libc().prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _filter_arguments(said)
    _filter_calls(said["SystemCallFilter"])


def _mounts(writable: Sequence[Path]) -> None:
    libc = _libc()
    _check(libc.unshare(CLONE_NEWNS))
    _check(libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None))
    for path in writable:
        _check(libc.mount(bytes(path), bytes(path), None, MS_BIND | MS_REC, None))
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in points:
        path = Path(point.encode().decode("unicode_escape"))
        if path in writable or path.parts[1:2] in {("proc",), ("sys",), ("dev",)}:
            continue
        flags = MS_REMOUNT | MS_BIND | MS_RDONLY
        if libc.mount(None, bytes(path), None, flags, None) != 0:
            extra = flags | MS_NOSUID | MS_NODEV | MS_NOEXEC
            libc.mount(None, bytes(path), None, extra, None)
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    _check(libc.mount(b"tmpfs", b"/var/tmp", b"tmpfs", flags, None))
    _check(libc.mount(b"proc", b"/proc", b"proc", flags, b"hidepid=invisible"))


def _filter_calls(lists: Sequence[str]) -> None:
    allowed = set(_calls("@default"))  # systemd.exec(5): always there with a list of what may be
    for each in lists:
        names = {call for name in each.removeprefix("~").split() for call in _calls(name)}
        allowed = allowed - names if each.startswith("~") else allowed | names
    library = _libseccomp()
    context = library.seccomp_init(REFUSE | errno.EPERM)
    for name in sorted(allowed):
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:  # of this machine's kind
            _check(library.seccomp_rule_add_array(context, ALLOW, number, 0, None))
    _check(library.seccomp_load(context))


def _filter_arguments(said: dict[str, list[str]]) -> None:
    library = _libseccomp()
    context = library.seccomp_init(ALLOW)

    def refuse(call: str, error: int, *comparisons: Comparison) -> None:
        number = library.seccomp_syscall_resolve_name(call.encode())
        array = (Comparison * len(comparisons))(*comparisons)
        refused = REFUSE | error
        _check(library.seccomp_rule_add_array(context, refused, number, len(array), array))

    assert said["MemoryDenyWriteExecute"] == ["yes"]
    both = PROT_WRITE | PROT_EXEC
    refuse("mmap", errno.EPERM, Comparison(2, MASKED_EQUAL, both, both))
    refuse("mprotect", errno.EPERM, Comparison(2, MASKED_EQUAL, PROT_EXEC, PROT_EXEC))
    families = {getattr(socket, name) for name in said["RestrictAddressFamilies"][0].split()}
    for family in range(1, 46):
        if family not in families:
            refuse("socket", errno.EAFNOSUPPORT, Comparison(0, EQUAL, family, 0))
    assert said["RestrictSUIDSGID"] == ["yes"]
    for call, argument in {
        "chmod": 1,
        "fchmod": 1,
        "fchmodat": 2,
        "mkdir": 1,
        "mkdirat": 2,
    }.items():
        for bits in SUID_SGID:
            refuse(call, errno.EPERM, Comparison(argument, MASKED_EQUAL, bits, bits))
    _check(library.seccomp_load(context))


@cache
def _sets() -> dict[str, list[str]]:
    listed = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found: dict[str, list[str]] = {}
    name = ""
    for line in listed.splitlines():
        if line.startswith("@"):
            name = line.strip()
            found[name] = []
        elif line.startswith("    ") and name and not line.strip().startswith("#"):
            found[name].append(line.strip())
    return found


def _calls(name: str) -> Iterable[str]:
    if not name.startswith("@"):
        yield name
        return
    for each in _sets()[name]:
        yield from _calls(each)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


@cache
def _libseccomp() -> ctypes.CDLL:
    library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_void_p,
    ]
    library.seccomp_load.argtypes = [ctypes.c_void_p]
    return library


def _check(status: int) -> None:
    if status < 0:
        number = ctypes.get_errno() or -status
        raise OSError(number, os.strerror(number))


def main(arguments: list[str]) -> None:
    border = arguments.index("--")
    own, command = arguments[:border], arguments[border + 1 :]
    unit, *rest = own
    writable = [Path(path) for option, path in zip(rest[::2], rest[1::2], strict=True)]
    confine(Path(unit), writable)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
