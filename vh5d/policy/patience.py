"""Questions to a file system that may never answer."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

#: Seconds to wait for an answer.
PATIENCE = 3.0


def ask(question: Callable[[], bool], *, otherwise: bool, patience: float = PATIENCE) -> bool:
    """Ask in a thread of its own, which hangs alone; `otherwise` when no answer comes, or an error.

    Parameters
    ----------
    question
        Looks at a file system.
    patience
        Seconds to wait.
    """
    answers: list[bool] = []

    def wait() -> None:
        with contextlib.suppress(OSError):
            answers.append(question())

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    thread.join(patience)
    return answers[0] if answers else otherwise
