"""Times of versions: given as `datetime.datetime` in UTC or as `numpy.datetime64`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np


def as_utc(timestamp: datetime | np.datetime64) -> datetime:
    """Return a time in UTC.

    Parameters
    ----------
    timestamp
        An aware datetime in UTC, or a datetime64, which is taken to be in UTC.

    Raises
    ------
    ValueError
        It is naive, of another zone, or not a time.
    TypeError
        It is something else.
    """
    if isinstance(timestamp, np.datetime64):
        found = timestamp.astype("datetime64[us]").item()
        if found is None:
            raise ValueError("timestamp is not a time (NaT)")
        return found.replace(tzinfo=UTC)  # type: ignore[no-any-return]
    if not isinstance(timestamp, datetime):
        raise TypeError("timestamp must be a datetime.datetime or a numpy.datetime64")
    if timestamp.utcoffset() != timedelta(0):
        raise ValueError("timestamp must be in UTC")
    return timestamp.astimezone(UTC)
