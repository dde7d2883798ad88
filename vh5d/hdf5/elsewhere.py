"""Files that a dataset's values are in, when they are not in its own."""

from __future__ import annotations

from typing import Any

from h5py import h5d


def files_of(dataset_id: Any) -> tuple[bytes, ...]:
    """Return the names of the files that a dataset shows parts of, or keeps its values in.

    They are as stored: virtual sources, then external storage, each once.

    Parameters
    ----------
    dataset_id
        h5py's DatasetID.
    """
    dcpl = dataset_id.get_create_plist()
    names: list[bytes] = []
    if dcpl.get_layout() == h5d.VIRTUAL:
        for i in range(dcpl.get_virtual_count()):
            name = dcpl.get_virtual_filename(i)
            names.append(
                name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")
            )
    names += [dcpl.get_external(i)[0] for i in range(dcpl.get_external_count())]
    return tuple(dict.fromkeys(names))
