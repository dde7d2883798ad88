"""Source to version, and back.

The package can be called: ``vh5d.capture(source, store)`` is `vh5d.capture.capture.capture`, of
whose name and this package's Python keeps only one.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vh5d.capture.options import CaptureResult


class _Callable(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> CaptureResult:
        from vh5d.capture.capture import capture  # noqa: PLC0415 - h5py, when it is wanted

        return capture(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
