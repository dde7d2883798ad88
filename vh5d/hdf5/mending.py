"""Blocks with one wrong byte made right again, going by their checksums.

A block of n bytes has 255 n neighbours that differ in one byte; one in 2^32 fits the checksum by
chance. What is found here is a proposal, to be proved by other means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from vh5d.errors import StoreDamagedError
from vh5d.hdf5.block_image import UNDEFINED
from vh5d.hdf5.checksum import checksum, lookup3
from vh5d.hdf5.header_messages import header_nbytes
from vh5d.hdf5.index_format import NODE_PREFIX, IndexFormat
from vh5d.hdf5.index_nodes import HEADER_NBYTES, Pointers, node_children, read_header
from vh5d.hdf5.object_header import chunk_index_of

MOST_NBYTES = 4096  # of a block: the time grows with the square
_CHANGES = np.arange(1, 256, dtype=np.uint8)
_POSITIONS_AT_ONCE = 32

Read = Callable[[int, int], bytes]
Patches = dict[int, bytes]


def mend_block(block: bytes) -> bytes | None:
    """Return a block with one byte changed so that the checksum that ends it is right.

    Parameters
    ----------
    block
        The block, its last four bytes the checksum.

    Returns
    -------
    The block as it is when it is right already; None when no change of one byte helps, or several.
    """
    body, stored = block[:-4], block[-4:]
    right = checksum(body)
    if right == stored:
        return block
    if sum(a != b for a, b in zip(right, stored, strict=True)) == 1:
        return body + right
    if len(block) > MOST_NBYTES:
        return None
    found = list(_neighbours(np.frombuffer(body, np.uint8), int.from_bytes(stored, "little")))
    return found[0] + stored if len(found) == 1 else None


def _neighbours(body: NDArray[np.uint8], wanted: int) -> Iterator[bytes]:
    for first in range(0, len(body), _POSITIONS_AT_ONCE):
        places = np.arange(first, min(first + _POSITIONS_AT_ONCE, len(body)))
        rows = np.repeat(body[np.newaxis], len(places) * len(_CHANGES), axis=0)
        rows[np.arange(len(rows)), np.repeat(places, len(_CHANGES))] ^= np.tile(
            _CHANGES, len(places)
        )
        for i in np.flatnonzero(lookup3(rows) == wanted):
            yield rows[i].tobytes()


def mend_dataset(read: Read, address: int) -> Patches:
    """Return the blocks of a dataset's header and chunk index that can be mended, by address.

    Parameters
    ----------
    read
        `read(address, nbytes)` of the file.
    address
        The dataset's object header, one of ours.

    Raises
    ------
    StoreDamagedError
        Some block cannot be mended.
    """
    patches: Patches = {}

    def mended(at: int, nbytes: int) -> bytes:
        for start, block in patches.items():
            if start <= at and at + nbytes <= start + len(block):
                return block[at - start : at - start + nbytes]
        return read(at, nbytes)

    _mend(mended, address, header_nbytes(mended, address), patches)
    root, fmt = chunk_index_of(mended, address)
    if root != UNDEFINED:
        _mend_index(mended, root, fmt, patches)
    return patches


def _mend_index(read: Read, root: int, fmt: IndexFormat, patches: Patches) -> None:
    _mend(read, root, HEADER_NBYTES, patches)
    header = read_header(read, root, fmt)
    level = [(header.address, header.count)]
    for height in range(header.height, -1, -1):
        below: list[tuple[int, int]] = []
        for address, count in level:
            pointers = (count + 1) * fmt.level(height).pointer if height else 0
            nbytes = NODE_PREFIX + count * fmt.record_size + pointers + 4
            if nbytes > fmt.node_size:
                raise StoreDamagedError(f"chunk index node at {address}: more records than fit")
            _mend(read, address, nbytes, patches)
            if height:
                row = np.frombuffer(read(address, nbytes), np.uint8)[np.newaxis]
                below += _pairs(node_children(row, np.array([count]), height, fmt))
        level = below


def _pairs(nodes: Pointers) -> list[tuple[int, int]]:
    return list(zip(nodes.addresses.tolist(), nodes.counts.tolist(), strict=True))


def _mend(read: Read, address: int, nbytes: int, patches: Patches) -> None:
    block = read(address, nbytes)
    if len(block) != nbytes:
        raise StoreDamagedError(f"the file ends within the block at {address}")
    mended = mend_block(block)
    if mended is None:
        raise StoreDamagedError(f"the block at {address} cannot be mended")
    if mended != block:
        patches[address] = mended
