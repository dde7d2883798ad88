"""Globs over paths: ``*``, ``?``, ``[...]`` within a name, ``**`` across directories."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath, PurePosixPath

EXPECTED = "expected a glob such as *.h5 or **/scratch/**"
_MAGIC = re.compile(r"[*?\[]")
_ESCAPED = re.compile(r"\[([*?\[])\]")


def literal(part: str) -> str | None:
    """The name that `part` stands for, when it stands for one only (``glob.escape`` undone)."""
    return None if _MAGIC.search(_ESCAPED.sub("", part)) else _ESCAPED.sub(r"\1", part)


def compile_glob(pattern: str, *, ignore_case: bool = False) -> re.Pattern[str]:
    """Return the regular expression that matches whole paths as `pattern` does.

    ``**`` as a whole component stands for any number of directories, as the last
    one for everything below; elsewhere ``*`` stays within a name.

    Raises
    ------
    ValueError
        A character range that is none, such as ``[z-a]``.
    """
    # **/**/ means **/; a regular expression would try every split between them.
    parts = re.sub(r"(?<![^/])(\*\*/)+(?=\*\*(/|$))", "", pattern).split("/")
    text = ""
    for i, part in enumerate(parts):
        last = i == len(parts) - 1
        if part == "**":
            text += ".+" if last else "(?:[^/]+/)*"
        else:
            text += _component(part) + ("" if last else "/")
    try:
        return re.compile(text, re.DOTALL | (re.IGNORECASE if ignore_case else 0))
    except re.error as error:
        message = f"{pattern!r} is not a glob: {error.msg}"
        raise ValueError(message) from error


def _component(part: str) -> str:
    text, i = "", 0
    while i < len(part):
        # A bracket that comes first, negated or not, is a member.
        first = i + 3 if part.startswith("[!", i) else i + 2
        closing = part.find("]", first) if part[i] == "[" else -1
        if part[i] == "*":
            # Several stars are one, for the same reason.
            text += "" if text.endswith("[^/]*") else "[^/]*"
        elif part[i] == "?":
            text += "[^/]"
        elif closing >= 0:
            text += _character_class(part[i + 1 : closing])
            i = closing
        else:
            text += re.escape(part[i])
        i += 1
    return text


def _character_class(members: str) -> str:
    negated = members.startswith("!")
    rest = members[1:] if negated else members
    text = ""
    while rest:
        is_range = rest[1:2] == "-" and len(rest) > 2
        text += f"{re.escape(rest[0])}-{re.escape(rest[2])}" if is_range else re.escape(rest[0])
        rest = rest[3:] if is_range else rest[1:]
    return f"[^/{text}]" if negated else f"[{text}]"


@dataclass(frozen=True)
class PathPattern:
    """An ``include`` or ``exclude`` pattern.

    Without a slash it is matched with the name, in any directory; with one, with
    the path below the watched root; with a leading slash, with the whole path.
    """

    regex: re.Pattern[str]
    absolute: bool
    name_only: bool
    text: str = ""

    @classmethod
    def parse(cls, pattern: str, *, ignore_case: bool = False) -> PathPattern:
        """Compile `pattern`; ValueError as of `compile_glob`."""
        body = pattern.removeprefix("./").rstrip("/")
        if body in {"", "."}:
            message = f"{pattern!r} is not a glob: nothing is left of it"
            raise ValueError(message)
        regex = compile_glob(body, ignore_case=ignore_case)
        return cls(regex, absolute=body.startswith("/"), name_only="/" not in body, text=pattern)

    def matches(self, root: PurePath, relative: PurePosixPath) -> bool:
        """Whether the file at `root` / `relative` is meant."""
        if self.name_only:
            return self.regex.fullmatch(relative.name) is not None
        subject = root / relative if self.absolute else relative
        return self.regex.fullmatch(str(subject)) is not None

    def matches_within(self, root: PurePath, relative: PurePosixPath) -> bool:
        """Whether the file or a directory it is in, below `root`, is meant."""
        return any(self.matches(root, path) for path in (relative, *relative.parents[:-1]))
