from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vh5d.policy.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("2s", 2),
        ("2 s", 2),
        ("1.5s", 1.5),
        ("10m", 600),
        ("10min", 600),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("1d", 86400),
        (" 3s ", 3),
        ("0s", 0),
    ],
)
def test_durations(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", " ", "2", "2x", "s", "-1s", "1m1h", "1s1s", "1 h 30", "1e3s", "1:30", "2S", "\u0661s"],
)
def test_what_is_not_a_duration(text):
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


def test_a_duration_is_not_longer_than_a_life():
    with pytest.raises(ValueError, match="longer than a hundred years"):
        parse_duration("9" * 400 + "d")


@given(st.integers(0, 10**12))
def test_a_formatted_duration_reads_back(milliseconds):
    assert parse_duration(format_duration(milliseconds / 1000)) == pytest.approx(
        milliseconds / 1000
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.5, "500ms"), (2, "2s"), (2.5, "2s500ms"), (90, "1m30s"), (90000, "1d1h")],
)
def test_durations_for_people(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [
        ("512 B", 512),
        ("10 MiB", 10 << 20),
        ("10MiB", 10 << 20),
        ("10 mib", 10 << 20),
        ("1.5GB", 1_500_000_000),
        ("1 kB", 1000),
        ("2 TiB", 2 << 40),
    ],
)
def test_sizes(text, nbytes):
    assert parse_size(text) == nbytes


@pytest.mark.parametrize("text", ["", "5", "MiB", "-1 B", "1 Mb/s", "1  MB", "1e3 B", "1 XB"])
def test_what_is_not_a_size(text):
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (10 << 20, "10 MiB"),
        ((1 << 20) - 1, "1 MiB"),
        (1_050_000_000, "1001 MiB"),
        (3_456_789_012, "3.22 GiB"),
        (1 << 80, "1048576 EiB"),
    ],
)
def test_sizes_for_people(nbytes, text):
    assert format_size(nbytes) == text


@given(st.integers(0, 1 << 62))
def test_a_formatted_size_is_right_to_half_a_percent(nbytes):
    assert parse_size(format_size(nbytes)) == pytest.approx(nbytes, rel=0.0051)
