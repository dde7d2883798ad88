"""Seals: what the objects of a version that was staged from Python were, as their digests.

Chunks in pools have hashes, and metadata has checksums of HDF5's. What HDF5 keeps as plain bytes
has neither: small and variable-length values, and attributes that are strings. A captured version
is compared with its file. One that was staged from Python has a seal for that,
`/_version_data/seals/<version>`: paths and digests of the objects that were made for it. What it
shares with the version before is sealed there; when that is dropped, its seals are handed on to
those that follow, as `/_version_data/seals_handed/<version>`. There, too, are those of objects that
were stored in another way since.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Collection, Mapping
from typing import Any

import blake3
import h5py

from vh5d.errors import StoreDamagedError
from vh5d.hdf5.address import address_of
from vh5d.hdf5.handles import create_bytes, has_member, open_member
from vh5d.hdf5.references import H5PY_ERRORS
from vh5d.hdf5.seal import seal_of
from vh5d.store import layout

MADE, HANDED = "seals", "seals_handed"
_DIGEST = 32  # bytes of BLAKE3, before what is sealed

SMALL_NBYTES = 512

Seals = dict[bytes, str]


def write_seals(root: h5py.Group, version: str, made: Mapping[bytes, Any]) -> bytes:
    """Seal objects of a version.

    Parameters
    ----------
    root
        The group with the versions, pools and seals, open for writing.
    version
        Its name.
    made
        Identifiers of the objects that were made for it, by a path in it; the empty one is its
        root.

    Returns
    -------
    The seals' digest.
    """
    return _write(root, MADE, version, {path: _seal(each, path) for path, each in made.items()})


def read_seals(file: h5py.File, version: str) -> Seals:
    """Return the seals of a version, its own and those handed on to it, by path.

    Raises
    ------
    StoreDamagedError
        They are not what was written.
    """
    return {**_read(file, MADE, version), **_read(file, HANDED, version)}


def renew(file: h5py.File, addresses: Collection[int]) -> None:
    """Seal objects anew that were put in the place of others.

    The seals that their versions were made with stay, as the chain has them, but count no more.

    Parameters
    ----------
    file
        The store, open for writing.
    addresses
        Those of the objects.
    """
    for version in file[layout.ROOT].get(MADE, ()):
        tree = file[layout.VERSIONS].get(version)
        if tree is None:
            continue
        new = {
            path: seal_at(tree, path)
            for path in read_seals(file, version)
            if path and path in tree and address_of(tree[path].id) in addresses
        }
        if new:
            _write(file[layout.ROOT], HANDED, version, {**_read(file, HANDED, version), **new})


def seals_digest(file: h5py.File, version: str) -> bytes:
    """Return the digest of the seals that a version was made with; empty if it has none."""
    table = file[layout.ROOT].get(f"{MADE}/{version}")
    return b"" if table is None else table[:_DIGEST].tobytes()


def seal_at(tree: h5py.Group, path: bytes) -> str:
    """Return the seal of the object at a path of a version, as it is now."""
    each: Any = tree[path] if path else tree
    return _seal(each.id, path)


def _seal(opened: Any, path: bytes) -> str:
    return seal_of(opened, without=() if path else layout.RESERVED_ATTRIBUTES).hex()


def hand_on(file: h5py.File, dropped: Mapping[str, str], kept: Mapping[str, str]) -> None:
    """Have the seals of versions that go handed on to those where their objects live on.

    Parameters
    ----------
    file
        The store, open for writing, with all versions still there.
    dropped, kept
        By the name of each version that goes or stays, the one before it.
    """
    for name, parent in kept.items():
        if parent in dropped:
            previous = parent
            own, tree = read_seals(file, name), file[f"{layout.VERSIONS}/{name}"]
            more: Seals = {}
            while previous in dropped:
                for path, seal in read_seals(file, previous).items():
                    if path not in own and path not in more and _lives(tree, path, seal):
                        more[path] = seal
                previous = dropped[previous]
            if more:
                _write(file[layout.ROOT], HANDED, name, {**_read(file, HANDED, name), **more})
    for group in (MADE, HANDED):
        for name in dropped:
            if name in file[layout.ROOT].get(group, ()):
                del file[layout.ROOT][group][name]


def _lives(tree: h5py.Group, path: bytes, seal: str) -> bool:
    try:
        return bool(path) and seal_at(tree, path) == seal
    except H5PY_ERRORS:
        return False


def _read(file: h5py.File, group: str, version: str) -> Seals:
    table = file[layout.ROOT].get(f"{group}/{version}")
    if table is None:
        return {}
    try:
        data = table[()].tobytes()
        if blake3.blake3(data[_DIGEST:]).digest() != data[:_DIGEST]:
            raise StoreDamagedError(f"the seals of version {version!r} are damaged")
        listed: dict[str, str] = json.loads(zlib.decompress(data[_DIGEST:]))
    except (zlib.error, ValueError) as error:
        raise StoreDamagedError(f"the seals of version {version!r} are damaged: {error}") from error
    return {os.fsencode(path): seal for path, seal in listed.items()}


def _compress(data: bytes) -> bytes:
    if len(data) > SMALL_NBYTES:
        return zlib.compress(data, 6)
    # Of a few seals, most of the time would go into clearing a window for many.
    small = zlib.compressobj(6, zlib.DEFLATED, wbits=9, memLevel=1)
    return small.compress(data) + small.flush()


def _write(root: h5py.Group, group: str, version: str, seals: Seals) -> bytes:
    listed = {os.fsdecode(path): seal for path, seal in seals.items()}
    data = _compress(json.dumps(listed, separators=(",", ":")).encode())
    known = has_member(root.id, group)
    members = open_member(root.id, group) if known else root.create_group(group).id
    if has_member(members, version):
        members.unlink(version.encode())
    digest = blake3.blake3(data).digest()
    create_bytes(members, version, digest + data)
    return digest
