"""What a version is called: a template such as ``v{sequence}``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from string import Formatter

EXPECTED = "expected e.g. v{sequence}; fields are {sequence} {date} {time} {policy} {stem}"
FIELDS = ("sequence", "date", "time", "policy", "stem")
# A name is an HDF5 link name and an argument of commands: -1 and @TIME mean something else.
_ALLOWED = re.compile(r"[A-Za-z0-9._+-]*")
_OTHERS = re.compile(r"[^A-Za-z0-9._+-]+")


@dataclass(frozen=True)
class VersionTemplate:
    """Literal text and fields, in turn.

    ``{sequence}`` counts the versions of a source, ``{date}`` and ``{time}`` are those
    of the capture in UTC (2026-01-31, 23-59-59), ``{policy}`` is the policy's name,
    ``{stem}`` the source's name without its suffix.
    """

    parts: tuple[tuple[str, str | None], ...]

    @classmethod
    def parse(cls, text: str) -> VersionTemplate:
        """Read a template.

        Raises
        ------
        ValueError
            Braces that do not match, a field that there is not, no ``{sequence}``, or
            characters that a name cannot have.
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
            if not _ALLOWED.fullmatch(before):
                message = f"{text!r} has more than letters, digits and . _ + - in it"
                raise ValueError(message)
            parts.append((before, name))
        if not any(name == "sequence" for _, name in parts):
            message = f"{text!r} would call two versions the same without {{sequence}}"
            raise ValueError(message)
        if text[0] in ".-_+":
            message = f"{text!r} begins with {text[0]}"
            raise ValueError(message)
        return cls(tuple(parts))

    def render(self, sequence: int, when: datetime, *, policy: str, stem: str) -> str:
        """Return the name of a version; what a name cannot have becomes ``_``."""
        values = {
            "sequence": str(sequence),
            "date": f"{when:%Y-%m-%d}",
            "time": f"{when:%H-%M-%S}",
            "policy": policy,
            "stem": stem,
        }
        text = "".join(before + (values[name] if name else "") for before, name in self.parts)
        text = _OTHERS.sub("_", text)
        return text if text[0].isalnum() else f"v{text}"
