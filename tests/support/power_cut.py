"""A process that is gone when the power goes, instead of going on with a disk that fails."""

from __future__ import annotations

import os
import random
import traceback
import warnings
from collections.abc import Callable

from tests.support.simulated_disk import PowerCutError, SimulatedDisk

_FINISHED, _FAILED, _CUT = 0, 1, 77


def survives(disk: SimulatedDisk, work: Callable[[], object], kept: float) -> bool:
    """Do work in a process of its own; tell whether it ended before the power went.

    The power goes at the disk's `crash_at`, or when the work is done. No HDF5 file may be open.

    Parameters
    ----------
    disk
        What the work is done on.
    work
        The work.
    kept
        How probable it is of each unsynced sector to survive.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12 warns of threads; the child needs none
        pid = os.fork()
    if not pid:
        _run(disk, work, kept)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in {_FINISHED, _CUT}, f"the process ended with {code}"
    return code == _FINISHED


def _run(disk: SimulatedDisk, work: Callable[[], object], kept: float) -> None:
    chance = random.Random(kept)

    def cut() -> None:
        disk.lose_power(chance, kept)
        os._exit(_CUT)

    _end_with(disk, cut)
    try:
        work()
    except BaseException:  # noqa: BLE001 - told of by its exit code
        traceback.print_exc()
        os._exit(_FAILED)
    disk.lose_power(chance, kept)
    os._exit(_FINISHED)


def _end_with(disk: SimulatedDisk, cut: Callable[[], None]) -> None:
    step, pwrite = disk._step, disk.pwrite

    def mortal_step(name: str) -> None:
        try:
            step(name)
        except PowerCutError:
            cut()

    def mortal_pwrite(fd: int, data: memoryview, offset: int) -> int:
        try:
            return pwrite(fd, data, offset)
        except PowerCutError:
            cut()
            raise

    disk._step, disk.pwrite = mortal_step, mortal_pwrite
