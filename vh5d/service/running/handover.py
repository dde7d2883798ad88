"""A configuration that is in force, handed to the processes that are to follow it.

They must not read the file again: it may have been changed since, and be wrong. The texts go
through an unnamed file that only this process and those it starts can see, as they may hold
secrets; what ``${file:…}`` and ``${NAME}`` stand for is looked up anew, and stored nowhere.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

from vh5d.errors import ServiceError
from vh5d.policy import Reading, read
from vh5d.policy.texts import Texts

#: Where a process finds the number of the descriptor.
VARIABLE = "VH5D_SETTINGS_FD"


def hand_over(reading: Reading) -> int:
    """Return a descriptor of a configuration, which a child may inherit; it stays open."""
    texts = reading.texts
    content = json.dumps(
        {
            "path": str(reading.path),
            "texts": {str(path): text for path, text in texts.texts.items()},
            "globs": {pattern: list(map(str, paths)) for pattern, paths in texts.globs.items()},
        }
    ).encode()
    descriptor = _unnamed()
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    os.set_inheritable(descriptor, True)
    return descriptor


def handed_over(environment: MutableMapping[str, str] = os.environ) -> Reading | None:
    """Return the configuration that this process was given, once; None: it was given none.

    Raises
    ------
    ServiceError
        The descriptor is not what it should be.
    """
    number = environment.pop(VARIABLE, None)
    if number is None:
        return None
    try:
        descriptor = int(number)
        found = json.loads(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
        os.close(descriptor)
        texts = Texts(
            {Path(path): text for path, text in found["texts"].items()},
            {pattern: tuple(map(Path, paths)) for pattern, paths in found["globs"].items()},
            closed=True,
        )
        return read(Path(found["path"]), texts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"{VARIABLE}={number} is no configuration"
        raise ServiceError(message, hint="it is set by vh5d itself only: unset it") from error


def _unnamed() -> int:
    if sys.platform == "linux":
        return os.memfd_create("vh5d-settings")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
