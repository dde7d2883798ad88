"""``python -m vh5d``: the same as ``vh5d``."""

from vh5d.cli import main

if __name__ == "__main__":
    main()
