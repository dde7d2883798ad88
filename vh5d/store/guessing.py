"""Which rows of pools the chunks of a dataset might be, the likeliest first."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

MOST_COMPARED = 20_000_000
"""Rows to be looked at for one version, whether they fit."""
MOST_ELSE = 2
"""Chunks that are something else than is likeliest."""

Row: TypeAlias = tuple[str, int]
"""A chunk of a pool, by its name and row."""


@dataclass
class Chunk:
    """A chunk of a dataset whose index is damaged.

    Attributes
    ----------
    pool, nbytes
        Where it is kept, and how long it is.
    piece
        Its place among the pieces of the file.
    written
        The dataset's object header was written here, and its chunks before: further back.
    rows
        Which it might be, of those that were written by then; the likeliest first.
    later
        Of those that were written after it, as it seems.
    now
        Which of them the source has there now, if it has any.
    """

    pool: str
    nbytes: int
    piece: int
    written: int
    rows: list[int] = field(default_factory=list)
    later: list[int] = field(default_factory=list)
    now: int | None = None


def guesses(
    chunks: list[Chunk], unclaimed: list[Row], size: Callable[[str, int], int]
) -> Iterator[dict[int, int]]:
    """Yield rows of chunks: of those with no likely one, and of a few others.

    Rows that nobody else has were written in the order of the file's pieces.
    """
    order = sorted(range(len(chunks)), key=lambda i: chunks[i].piece)
    without = [i for i in order if not chunks[i].rows]
    others = [i for i in order if chunks[i].rows]
    spare = len(unclaimed) - len(without)
    extras = [n for n in range(MOST_ELSE + 1) if n <= spare]
    kinds = {each: (each[0], size(*each)) for each in unclaimed}
    if not without:
        yield {i: each.now for i, each in enumerate(chunks) if each.now is not None}
    pairs = (
        (sorted([*without, *more], key=lambda i: chunks[i].piece), chosen)
        for extra in sorted(extras, key=lambda n: n != spare)
        for more in itertools.combinations(others, extra)
        for chosen in itertools.combinations(unclaimed, len(without) + extra)
    )
    for places, chosen in itertools.islice(pairs, MOST_COMPARED // (1 + len(without))):
        if all(
            kinds[each] == (chunks[i].pool, chunks[i].nbytes)
            for i, each in zip(places, chosen, strict=True)
        ):
            yield from _with_others(
                chunks, {i: row for i, (_, row) in zip(places, chosen, strict=True)}
            )


def _with_others(chunks: list[Chunk], taken: dict[int, int]) -> Iterator[dict[int, int]]:
    """Yield the same with some of the other chunks' less likely rows."""
    less = [(i, row) for i, each in enumerate(chunks) for row in each.rows[1:] if i not in taken]
    for count in range(MOST_ELSE + 1):
        for some in itertools.combinations(less, count):
            yield {**taken, **dict(some)}
