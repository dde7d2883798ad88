"""Where the texts of a configuration come from: the disk, or what was once read from it."""

from __future__ import annotations

import contextlib
import glob
import re
from dataclasses import dataclass, field
from pathlib import Path

from vh5d.policy.yaml_lines import YAMLError

_LARGEST = 1 << 20
_MAGIC = re.compile(r"[*?\[]")


@dataclass
class Texts:
    """The texts of configuration files, as they were when first asked for.

    Parameters
    ----------
    texts, globs
        What was read, and which files an ``include`` pattern meant.
    closed
        Nothing else is to be read from the disk.
    unread
        What could not be read, and why.
    """

    texts: dict[Path, str] = field(default_factory=dict)
    globs: dict[str, tuple[Path, ...]] = field(default_factory=dict)
    closed: bool = False
    unread: dict[Path, str] = field(default_factory=dict)

    def text(self, path: Path) -> str:
        """Return the text of the file at `path`.

        Raises
        ------
        YAMLError
            It cannot be read (without a line), or is no text.
        """
        if path not in self.texts and self.closed:
            message = "was not there when the configuration was read"
            raise YAMLError(message, 0)
        if path not in self.texts:
            try:
                self.texts[path] = _read(path)
            except YAMLError as error:
                self.unread[path] = str(error)
                raise
        return self.texts[path]

    def found(self, pattern: str, base: Path, *, besides: Path) -> tuple[Path, ...]:
        """Return the files that an ``include`` pattern means, sorted; never `besides`."""
        whole = str(base / Path(pattern).expanduser())
        if not _MAGIC.search(whole):
            return (Path(whole),)
        if whole not in self.globs and not self.closed:
            paths = map(Path, sorted(glob.glob(whole, recursive=True)))  # noqa: PTH207 - absolute
            self.globs[whole] = tuple(
                path for path in paths if path.is_file() and not path.samefile(besides)
            )
        return self.globs.get(whole, ())

    def same_on_disk(self) -> bool:
        """Whether the files are as they were, and no others are meant."""
        now = Texts()
        for path in (*self.texts, *self.unread):
            with contextlib.suppress(YAMLError):
                now.text(path)
        besides = next(iter(now.texts), Path("/"))
        for pattern in self.globs:
            now.found(pattern, Path("/"), besides=besides)
        return (now.texts, now.unread, now.globs) == (self.texts, self.unread, self.globs)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        raise YAMLError(message, 0) from error
    if len(data) > _LARGEST:
        message = "is larger than 1 MiB: not a configuration"
        raise YAMLError(message, 0)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = "is not UTF-8 text"
        raise YAMLError(message, data.count(b"\n", 0, error.start) + 1) from error
