"""``python -m vh5d``: the command line."""

from __future__ import annotations

from vh5d.cli import main

main()
