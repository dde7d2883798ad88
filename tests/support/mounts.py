"""Small file systems for tests: full, vanishing, hanging. Root, and Linux, or a skip."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import shutil
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

_LIBC = ctypes.CDLL(None, use_errno=True)


def needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")


def mount(*arguments: object) -> None:
    needs_root()
    if shutil.which("mount") is None:
        pytest.skip("there is no mount")
    done = subprocess.run(
        ["mount", *map(str, arguments)], check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        pytest.skip(f"may not mount: {done.stderr.strip()}")


def unmount(path: Path) -> None:
    """Away at once, whoever still has something open there."""
    subprocess.run(["umount", "--lazy", str(path)], check=False, capture_output=True)


@contextlib.contextmanager
def mounted(*arguments: object) -> Iterator[Path]:
    """`mount ARGUMENTS`, the last of which is the mount point, made if need be."""
    point = Path(str(arguments[-1]))
    point.mkdir(parents=True, exist_ok=True)
    mount(*arguments)
    try:
        yield point
    finally:
        unmount(point)


@contextlib.contextmanager
def tmpfs(point: Path, size: str = "8m") -> Iterator[Path]:
    with mounted("-t", "tmpfs", "-o", f"size={size}", "tmpfs", point):
        yield point


@contextlib.contextmanager
def overlay(home: Path) -> Iterator[tuple[Path, Path]]:
    """A directory and its upper layer: what is written to that shows in it, unheard of."""
    layers = {name: home / name for name in ("lower", "upper", "work")}
    for path in layers.values():
        path.mkdir(parents=True)
    options = ",".join(f"{name}dir={path}" for name, path in layers.items())
    with mounted("-t", "overlay", "-o", options, "overlay", home / "merged") as merged:
        yield merged, layers["upper"]


@contextlib.contextmanager
def loop(image: Path, point: Path, size: int) -> Iterator[Path]:
    """An ext4 file system in a sparse file."""
    needs_root()
    with image.open("wb") as file:
        file.truncate(size)
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("there is no mkfs.ext4")
    command = ["mkfs.ext4", "-q", "-O", "^has_journal", "-E", "lazy_itable_init=0", str(image)]
    subprocess.run(command, check=True, capture_output=True)
    with mounted("-o", "loop", image, point):
        yield point


class HungFileSystem:
    """A FUSE file system whose server shows an empty directory and then, on request, hangs.

    Whoever asks it for something waits, and only SIGKILL ends that: as with a server that is away
    and a share that is mounted hard.
    """

    # linux/fuse.h
    _GETATTR, _INIT, _OPENDIR, _READDIR, _RELEASEDIR = 3, 26, 27, 28, 29
    _UNANSWERED = (2, 36, 42)  # FORGET, INTERRUPT, BATCH_FORGET

    def __init__(self, point: Path) -> None:
        self.point = point
        self.hangs = threading.Event()
        self._device = -1

    def __enter__(self) -> Self:
        needs_root()
        self.point.mkdir(parents=True, exist_ok=True)
        try:
            self._device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            pytest.skip(f"no FUSE: {error}")
        options = f"fd={self._device},rootmode=40000,user_id=0,group_id=0".encode()
        if _LIBC.mount(b"hung", os.fsencode(self.point), b"fuse", 0, options) != 0:
            os.close(self._device)
            pytest.skip(f"no FUSE: {os.strerror(ctypes.get_errno())}")
        self._server = threading.Thread(target=self._serve, daemon=True)
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        # MNT_FORCE ends those who wait, MNT_DETACH the mount.
        _LIBC.umount2(os.fsencode(self.point), 1)
        _LIBC.umount2(os.fsencode(self.point), 2)
        self._server.join(10)
        os.close(self._device)

    def _serve(self) -> None:
        waiting = select.poll()
        waiting.register(self._device, select.POLLIN)
        while not self.hangs.is_set():
            if not waiting.poll(20):
                continue
            try:
                request = os.read(self._device, 1 << 20)
            except OSError:
                return  # unmounted
            _, opcode, unique = struct.unpack_from("<IIQ", request)
            if opcode == self._INIT:
                major, minor, readahead = struct.unpack_from("<III", request, 40)
                init = struct.pack("<IIII", major, min(minor, 31), readahead, 0)
                self._answer(unique, init + struct.pack("<HHI", 12, 9, 1 << 16) + bytes(40))
            elif opcode in self._UNANSWERED:
                continue
            elif opcode == self._OPENDIR:
                self._answer(unique, bytes(16))
            elif opcode in {self._READDIR, self._RELEASEDIR}:
                self._answer(unique, b"")
            elif opcode == self._GETATTR:
                # struct fuse_attr: inode 1, times, a directory of one link, block size
                attributes = struct.pack("<6Q10I", 1, *[0] * 8, 0o40755, 1, 0, 0, 0, 4096, 0)
                self._answer(unique, bytes(16) + attributes)

            else:
                self._answer(unique, b"", error=errno.ENOENT)

    def _answer(self, unique: int, content: bytes, error: int = 0) -> None:
        answer = struct.pack("<IiQ", 16 + len(content), -error, unique) + content
        with contextlib.suppress(OSError):  # nobody waits for it any more
            os.write(self._device, answer)
