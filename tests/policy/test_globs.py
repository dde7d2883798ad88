from __future__ import annotations

import fnmatch
import time
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vh5d.policy.globs import PathPattern, compile_glob

ROOT = PurePosixPath("/data")


@pytest.mark.parametrize(
    ("pattern", "path", "meant"),
    [
        ("*.h5", "run.h5", True),
        ("*.h5", "a/b/run.h5", True),
        ("*.h5", "run.h5.tmp", False),
        ("raw/*.h5", "raw/run.h5", True),
        ("raw/*.h5", "a/raw/run.h5", False),
        ("raw/*.h5", "raw/b/run.h5", False),
        ("**/raw/*.h5", "raw/run.h5", True),
        ("**/raw/*.h5", "a/b/raw/run.h5", True),
        ("**/raw/*.h5", "braw/run.h5", False),
        ("raw/**", "raw/a/b.h5", True),
        ("raw/**", "raw", False),
        ("raw/**/x.h5", "raw/x.h5", True),
        ("**", "a/b", True),
        ("a**b", "a12b", True),
        ("/data/raw/*.h5", "raw/run.h5", True),
        ("/other/*.h5", "run.h5", False),
        ("run_[0-9].h5", "run_7.h5", True),
        ("run_[!0-9].h5", "run_7.h5", False),
        ("run_?.h5", "run_x.h5", True),
        ("raw/?/x", "raw///x", False),
        ("run[.h5", "run[.h5", True),
        ("./raw/*.h5", "raw/run.h5", True),
        ("a\nb*", "a\nbc", True),
    ],
)
def test_patterns(pattern, path, meant):
    assert PathPattern.parse(pattern).matches(ROOT, PurePosixPath(path)) is meant


@given(st.text("ab.*?[]!^-&|~\\", max_size=8), st.text("ab.[]!^-&|~\\", min_size=1, max_size=8))
def test_within_a_name_globs_are_those_of_fnmatch(pattern, name):
    try:
        ours = compile_glob(pattern)
    except ValueError:
        return
    assert (ours.fullmatch(name) is not None) == fnmatch.fnmatchcase(name, pattern)


def test_a_directory_that_is_left_out_takes_what_is_below_with_it():
    pattern = PathPattern.parse("scratch/")
    assert pattern.matches_within(ROOT, PurePosixPath("a/scratch/b/run.h5"))
    assert not pattern.matches_within(ROOT, PurePosixPath("a/scratches/run.h5"))


def test_no_pattern_takes_for_ever():
    pattern = PathPattern.parse("**/**/**/**/**/a*****b")
    began = time.perf_counter()
    assert not pattern.matches(ROOT, PurePosixPath("/".join(["a" * 30] * 30)))
    assert time.perf_counter() - began < 0.5


@pytest.mark.parametrize("pattern", ["/", "./", "[z-a]"])
def test_what_is_not_a_pattern(pattern):
    with pytest.raises(ValueError, match="is not a glob"):
        PathPattern.parse(pattern)
