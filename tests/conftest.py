"""What holds for all tests."""

from __future__ import annotations

import signal


def pytest_configure():
    # A shell starts what runs in the background with Ctrl-C ignored, and that is handed down to
    # every program that a test starts and interrupts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
