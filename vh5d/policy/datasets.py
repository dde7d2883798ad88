"""Which datasets of a file count."""

from __future__ import annotations

import re
from functools import cached_property

from pydantic import Field, field_validator

from vh5d.policy.block import Block
from vh5d.policy.fields import Patterns, SomePatterns, reject
from vh5d.policy.globs import compile_glob

_EXPECTED = "expected a glob over full paths, such as /entry/log/** or **/clock"


class Datasets(Block):
    """Globs over the full paths of objects: a change of others alone makes no version."""

    include: SomePatterns = Field(("**",), description="What counts, by full path.")
    exclude: Patterns = Field((), description="What of that does not.")

    @field_validator("include", "exclude")
    @classmethod
    def _globs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            try:
                compile_glob(pattern)
            except ValueError as error:
                reject(str(error), _EXPECTED)
        return value

    @property
    def all(self) -> bool:
        """Whether every dataset counts."""
        return "**" in self.include and not self.exclude

    def counts(self, path: str) -> bool:
        """Whether a change of the object at `path`, such as ``/entry/data``, is one."""
        name = path.strip("/")
        included, excluded = self._compiled
        return any(regex.fullmatch(name) for regex in included) and not any(
            regex.fullmatch(above) for regex in excluded for above in _with_parents(name)
        )

    @cached_property
    def _compiled(self) -> tuple[list[re.Pattern[str]], list[re.Pattern[str]]]:
        return tuple(  # type: ignore[return-value]
            [compile_glob(pattern.strip("/")) for pattern in patterns]
            for patterns in (self.include, self.exclude)
        )


def _with_parents(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:n]) for n in range(len(parts), 0, -1)]
