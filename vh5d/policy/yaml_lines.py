"""YAML as plain values, with the line that each of them is on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

Location = tuple[str | int, ...]

# Far more than any configuration has, and soon enough for a file that is a trap.
_MOST_NODES = 20_000
_DEEPEST = 20


class YAMLError(Exception):
    """The text is not YAML that could be a configuration; `line` counts from 1."""

    def __init__(self, problem: str, line: int) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line


@dataclass
class Document:
    """The value of a YAML text, and the lines of its parts."""

    value: Any = None
    lines: dict[Location, int] = field(default_factory=dict)

    def line_of(self, location: Location) -> int:
        """Return the line of the part at `location`, or of what it is missing from."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location, 1)


def parse(text: str) -> Document:
    """Read one YAML document.

    Whole numbers become numbers; every other scalar stays the text it is, since YAML
    takes ``no`` for false, ``1.5`` for a number without a unit and ``1:30`` for 90.

    Raises
    ------
    YAMLError
        Not YAML, two documents, a key given twice, or nested beyond reason.
    """
    document = Document()
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        if node is not None:
            document.value = _Reader(document.lines).read(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YAMLError(
            error.problem or str(error.context), mark.line + 1 if mark else 1
        ) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"the character {text[error.position]!r} is not allowed"
        raise YAMLError(message, line) from error
    except RecursionError:
        message = "nested too deeply"
        raise YAMLError(message, 1) from None
    return document


class _Reader:
    def __init__(self, lines: dict[Location, int]) -> None:
        self._lines = lines
        self._nodes = 0

    def read(self, node: yaml.Node, location: Location) -> Any:
        line = node.start_mark.line + 1
        self._lines.setdefault(location, line)
        self._nodes += 1
        if self._nodes > _MOST_NODES or len(location) > _DEEPEST:
            message = "nested too deeply, or aliases that multiply"
            raise YAMLError(message, line)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, location)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(each, (*location, i)) for i, each in enumerate(node.value)]
        if node.tag == "tag:yaml.org,2002:null":
            return None
        if node.tag == "tag:yaml.org,2002:int" and node.value.isdecimal():
            return int(node.value)
        return node.value

    def _mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                message = "a key must be a word"
                raise YAMLError(message, line)
            key = key_node.value
            if key in values:
                first = self._lines[*location, key]
                message = f"{key!r} is given twice, first in line {first}"
                raise YAMLError(message, line)
            self._lines[*location, key] = line
            values[key] = self.read(value_node, (*location, key))
        return values
