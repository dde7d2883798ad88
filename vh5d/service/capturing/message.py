"""What a message of the queue may say: a path and the name of a policy, and nothing else.

Whoever can write to the broker can send anything. Whether the path is one of the policy's is for
the attempt to find out; this is about what cannot be a path at all.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

#: PATH_MAX of Linux (limits.h), and the longest name that a policy may have.
LONGEST_PATH = 4096
LONGEST_NAME = 64


def read_message(arguments: Sequence[object]) -> tuple[Path, str] | None:
    """The path and the policy that a message names; None if it is not one of ours."""
    if len(arguments) != 2:
        return None
    path, policy = arguments
    if not isinstance(path, str) or not isinstance(policy, str):
        return None
    if not path.startswith("/") or "\0" in path or len(policy) > LONGEST_NAME:
        return None
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError:
        return None
    return (Path(path), policy) if len(encoded) < LONGEST_PATH else None
