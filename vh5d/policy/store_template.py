"""Where a source's store goes: a template such as ``{root}/.vh5d/{path}``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from string import Formatter

FIELDS = ("root", "path", "name", "stem", "policy", "date")
EXPECTED = (
    "expected e.g. {root}/.vh5d/{path}; "
    f"fields are {' '.join(f'{{{field}}}' for field in FIELDS)}"
)
_SLOT = "\0{}\0"
_DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"


def anchored(text: str, base: Path) -> str:
    """Return `text` as a template that begins at ``{root}`` or ``/``; a relative one at `base`."""
    text = os.path.expanduser(text)  # noqa: PTH111 - a Path would tidy the template
    if text.startswith(("/", "{root}")):
        return text
    return f"{base}/".replace("{", "{{").replace("}", "}}") + text


@dataclass(frozen=True)
class StoreTemplate:
    """Literal text and fields, in turn.

    ``{root}`` is the watched directory, ``{path}`` the source's path below it,
    ``{name}`` its last part, ``{stem}`` that without the suffix, ``{policy}`` the
    policy's name, ``{date}`` the day that the store was begun for.
    """

    parts: tuple[tuple[str, str | None], ...]

    @classmethod
    def parse(cls, text: str) -> StoreTemplate:
        """Read a template.

        Raises
        ------
        ValueError
            Braces that do not match, or a field that there is not.
        """
        parts = []
        try:
            parsed = list(Formatter().parse(text))
        except ValueError:
            message = f"{text!r} has a brace without its partner"
            raise ValueError(message) from None
        for before, name, spec, conversion in parsed:
            if name is not None and (name not in FIELDS or spec or conversion):
                message = f"{text!r} has a field that there is not, {{{name}}}"
                raise ValueError(message)
            parts.append((before, name))
        return cls(tuple(parts))

    @property
    def fields(self) -> frozenset[str]:
        """Which fields it has."""
        return frozenset(name for _, name in self.parts if name is not None)

    def render(self, root: Path, relative: PurePosixPath, policy: str, date: str = "") -> Path:
        """Return the store of the source at `root` / `relative`."""
        return Path(
            self._fill(
                {
                    "root": str(root).rstrip("/"),
                    "path": str(relative),
                    "name": relative.name,
                    "stem": relative.stem,
                    "policy": policy,
                    "date": date,
                }
            )
        )

    def dates(self, root: Path, relative: PurePosixPath, policy: str) -> list[str]:
        """Return the dates for which the source at `root` / `relative` has a store, oldest first.

        A store stays where it is: its date is looked up, among the directories (or files) that
        have one in their names.
        """
        slot = _SLOT.format("date")
        whole = self.render(root, relative, policy, slot)
        at = next(i for i, part in enumerate(whole.parts) if slot in part)
        above, part = Path(*whole.parts[:at]), whole.parts[at]
        dated = re.compile(re.escape(part).replace(re.escape(slot), f"({_DATE})", 1))
        dated = re.compile(dated.pattern.replace(re.escape(slot), r"\1"))
        try:
            names = sorted(each.name for each in above.iterdir())
        except OSError:
            return []
        dates = [found[1] for found in map(dated.fullmatch, names) if found]
        text = str(whole)
        return sorted(date for date in dates if Path(text.replace(slot, date)).is_file())

    def family(self, root: Path, policy: str) -> str:
        """Return the path of every store below `root`, with a slot for what a source decides."""
        slots = {name: _SLOT.format(name) for name in ("path", "name", "stem", "date")}
        return self._fill({"root": str(root).rstrip("/"), "policy": policy, **slots})

    def pattern(self, root: Path, policy: str) -> re.Pattern[str]:
        """Return what the path of any store below `root` looks like."""
        text = re.escape(self.family(root, policy))
        text = text.replace(re.escape(_SLOT.format("path")), ".+")
        for name in ("name", "stem"):
            text = text.replace(re.escape(_SLOT.format(name)), "[^/]+")
        text = text.replace(re.escape(_SLOT.format("date")), _DATE)
        return re.compile(text, re.DOTALL)

    def _fill(self, values: Mapping[str, str]) -> str:
        text = ""
        for before, name in self.parts:
            text += before
            if name is not None:
                # "/backup/{root}/{path}": a root inside a path begins without its slash.
                text += values[name].lstrip("/") if text else values[name]
        return os.path.normpath(text)
