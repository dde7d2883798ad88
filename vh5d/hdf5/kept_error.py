"""Errors kept in a callback of HDF5's, to be told when it has returned."""

from __future__ import annotations


def without_frames(error: BaseException) -> BaseException:
    """The exception, and those it came from, without their tracebacks.

    Frames hold the views of HDF5's buffers that the callback was given. HDF5 frees the memory, and
    the interpreter dies by a segmentation fault when it ends with such a view alive.
    """
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error
