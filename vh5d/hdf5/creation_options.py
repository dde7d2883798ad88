"""How a dataset was created, in the words of h5py's `create_dataset`."""

from __future__ import annotations

from typing import Any

from h5py import h5d, h5s, h5z

_NAMED = {h5z.FILTER_DEFLATE: "gzip", h5z.FILTER_SZIP: "szip", h5z.FILTER_LZF: "lzf"}


def creation_options(dataset: Any) -> dict[str, Any]:
    """Return chunks, filters, fill value and limits of a dataset.

    Parameters
    ----------
    dataset
        h5py's Dataset.

    Returns
    -------
    dict
        Arguments of `create_dataset` that make one like it, type and shape left aside.

    Raises
    ------
    ValueError
        It has two filters that h5py has no names for: `create_dataset` takes one.
    """
    dcpl = dataset.id.get_create_plist()
    options: dict[str, Any] = {}
    if dcpl.get_layout() == h5d.CHUNKED:
        options |= {"chunks": dataset.chunks, "maxshape": dataset.maxshape}
    if dcpl.fill_value_defined() == h5d.FILL_VALUE_USER_DEFINED:
        options["fillvalue"] = dataset.fillvalue
    for i in range(dcpl.get_nfilters()):
        code, _, values, _ = dcpl.get_filter(i)
        if code == h5z.FILTER_SHUFFLE:
            options["shuffle"] = True
        elif code == h5z.FILTER_FLETCHER32:
            options["fletcher32"] = True
        elif code == h5z.FILTER_SCALEOFFSET:
            options["scaleoffset"] = dataset.scaleoffset
        elif "compression" in options:
            raise ValueError(f"{dataset.name}: h5py cannot name its filters {code} and others")
        else:
            options["compression"] = _NAMED.get(code, code)
            options["compression_opts"] = _options_of(dataset, code, values)
    return options


def create_extended(file_id: Any, like: Any, shape: tuple[int, ...]) -> Any:
    """Make an anonymous dataset of another's type and creation properties, of its own shape."""
    return h5d.create(
        file_id, None, like.get_type(), h5s.create_simple(shape), like.get_create_plist()
    )


def _options_of(dataset: Any, code: int, values: tuple[int, ...]) -> Any:
    if code in {h5z.FILTER_DEFLATE, h5z.FILTER_SZIP}:
        return dataset.compression_opts
    return None if code == h5z.FILTER_LZF else values
