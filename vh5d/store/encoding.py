"""How the bytes of a chunk are stored: as they came, or compressed by us.

What we compress goes through HDF5's own shuffle and deflate filters (or Zstandard, when asked
for), so that readers need nothing of ours. Deflate streams come from ISA-L, which is several
times faster than zlib and writes the same format (RFC 1950).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import numpy as np
import zstandard
from isal import isal_zlib

from vh5d.errors import StoreDamagedError

DEFLATE = 1
SHUFFLE = 2
ZSTANDARD = 32015  # registered with The HDF Group

DEFLATE_LEVEL = 1
ZSTANDARD_LEVEL = 1
WORTHWHILE = 0.95  # compressed to more than this part, a chunk is stored as it is

# isal's type stubs declare its exception as an instance.
_UNPACK_ERRORS = cast("tuple[type[Exception], ...]", (isal_zlib.IsalError, zstandard.ZstdError))

_NAME = re.compile(r"(?:shuffle(?P<itemsize>\d+)-)?(?P<codec>deflate|zstd)")


@dataclass(frozen=True)
class Filter:
    """One stage of an HDF5 filter pipeline."""

    code: int
    values: tuple[int, ...]
    optional: bool = True


@dataclass(frozen=True)
class Encoding:
    """A way to store chunks, named as its pool is.

    Attributes
    ----------
    name
        ``raw``, ``deflate``, ``shuffle4-deflate``, ``shuffle8-zstd``…
    codec
        ``None`` for bytes as they came.
    itemsize
        Bytes an element; 1 means no shuffle.
    """

    name: str
    codec: str | None
    itemsize: int = 1

    @property
    def filters(self) -> tuple[Filter, ...]:
        """The filter pipeline that a dataset of such chunks has."""
        if self.codec is None:
            return ()
        shuffle = (Filter(SHUFFLE, (self.itemsize,)),) if self.itemsize > 1 else ()
        last = (
            Filter(DEFLATE, (DEFLATE_LEVEL,))
            if self.codec == "deflate"
            else Filter(ZSTANDARD, (ZSTANDARD_LEVEL,))
        )
        return (*shuffle, last)

    @property
    def skip_mask(self) -> int:
        """The filter mask of a chunk that no filter was applied to."""
        return (1 << len(self.filters)) - 1

    def encode(self, data: bytes | memoryview) -> tuple[bytes | memoryview, int]:
        """Return the bytes to store and their filter mask."""
        if self.codec is None:
            return data, 0
        shuffled = shuffle(data, self.itemsize)
        packed: bytes
        if self.codec == "deflate":
            packed = isal_zlib.compress(shuffled, DEFLATE_LEVEL)
        else:
            packed = zstandard.ZstdCompressor(level=ZSTANDARD_LEVEL).compress(shuffled)
        if len(packed) > WORTHWHILE * len(data):
            return data, self.skip_mask
        return packed, 0

    def decode(self, stored: bytes, mask: int, nbytes: int) -> bytes:
        """Return the chunk's bytes as its source stored them.

        Parameters
        ----------
        stored
            What lies in the store.
        mask
            The filter mask it was stored with.
        nbytes
            How many bytes must come back.
        """
        if self.codec is None or mask == self.skip_mask:
            data = stored
        else:
            data = unshuffle(self._unpack(stored, nbytes), self.itemsize)
        if len(data) != nbytes:
            raise StoreDamagedError(f"a stored chunk holds {len(data)} bytes, not {nbytes}")
        return data

    def _unpack(self, stored: bytes, nbytes: int) -> bytes:
        try:
            if self.codec == "deflate":
                inflater = isal_zlib.decompressobj()
                unpacked: bytes = inflater.decompress(stored, nbytes + 1)
                return unpacked
            return zstandard.ZstdDecompressor().decompress(stored, max_output_size=nbytes)
        except _UNPACK_ERRORS as error:
            raise StoreDamagedError(f"a stored chunk cannot be decompressed: {error}") from error


RAW = Encoding("raw", None)
DEFLATED = Encoding("deflate", "deflate")


def compressed(codec: str, itemsize: int) -> Encoding:
    """Return the encoding for elements of `itemsize` bytes, by ``deflate`` or ``zstd``."""
    # HDF5's shuffle filter wants at least one whole element, and gains nothing on wide ones.
    itemsize = itemsize if 1 < itemsize <= 64 else 1
    return by_name(f"shuffle{itemsize}-{codec}" if itemsize > 1 else codec)


@lru_cache(maxsize=64)
def by_name(name: str) -> Encoding:
    """Return the encoding that a pool of this name has."""
    if name == RAW.name:
        return RAW
    match = _NAME.fullmatch(name)
    if match is None:
        raise StoreDamagedError(
            f"the store has a pool {name!r} of an unknown encoding",
            hint="a newer vh5d may have written it",
        )
    return Encoding(name, match["codec"], int(match["itemsize"] or 1))


def shuffle(data: bytes | memoryview, itemsize: int) -> bytes | memoryview:
    """Group the bytes of the elements by significance, as HDF5's shuffle filter does.

    Bytes past the last whole element stay at the end (H5Zshuffle.c).
    """
    if itemsize == 1:
        return data
    flat = np.frombuffer(data, np.uint8)
    count = len(flat) // itemsize
    out = np.empty(len(flat), np.uint8)
    out[count * itemsize :] = flat[count * itemsize :]
    elements = flat[: count * itemsize]
    if itemsize in {2, 4, 8}:  # shifting whole words is several times faster than transposing
        words = elements.view(f"<u{itemsize}")
        for byte in range(itemsize):
            plane = out[byte * count : (byte + 1) * count]
            np.right_shift(words, 8 * byte, out=plane, casting="unsafe")
    else:
        planes = out[: count * itemsize].reshape(itemsize, count)
        planes[...] = elements.reshape(count, itemsize).T
    return out.data


def unshuffle(data: bytes, itemsize: int) -> bytes:
    """Undo `shuffle`."""
    if itemsize == 1:
        return data
    flat = np.frombuffer(data, np.uint8)
    whole = len(flat) // itemsize * itemsize
    body = np.ascontiguousarray(flat[:whole].reshape(itemsize, -1).T).tobytes()
    return body + flat[whole:].tobytes()
