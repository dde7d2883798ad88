from __future__ import annotations

import json
import logging

import pytest
import structlog

from vh5d.service.catalog.source import State
from vh5d.service.running import logs
from vh5d.service.running.process import spawn
from vh5d.service.telling.live import Introduction, LineView, LiveView, Overview

VERSION = {
    "event": "version",
    "level": "info",
    "timestamp": "2026-11-24T09:30:00Z",
    "path": "/data/a.h5",
    "version": "v3",
    "bytes_added": 2048,
    "source_bytes": 1 << 20,
    "seconds": 0.123,
    "kept_as": "tree",
}


@pytest.fixture
def lines():
    root = logging.getLogger()
    before = root.handlers[:], root.level
    got = []
    yield got
    root.handlers[:], root.level = before
    structlog.reset_defaults()


def test_a_warning_of_a_capture_is_said_in_its_own_words():
    record = {"event": logs.NOTED, "path": "/data/a.h5", "warning": "kept by its bytes: empty"}
    assert logs.sentence(record) == "/data/a.h5: kept by its bytes: empty"


@pytest.mark.parametrize("source", ["structlog", "logging"])
def test_every_logger_gives_one_json_object_a_line(lines, source):
    logs.configure(lines.append, "json")
    if source == "structlog":
        structlog.stdlib.get_logger("x").warning("it failed", path="/data/a\nb.h5")
    else:
        logging.getLogger("x").warning("it failed", extra={"path": "/data/a\nb.h5"})
    (line,) = lines
    assert "\n" not in line
    record = json.loads(line)
    assert (record["event"], record["level"], record["path"]) == (
        "it failed",
        "warning",
        "/data/a\nb.h5",
    )


def test_a_traceback_stays_in_its_line(lines):
    logs.configure(lines.append, "json")
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError:
        structlog.stdlib.get_logger("x").exception("it failed")
    assert "ZeroDivisionError" in json.loads(lines[0])["exception"]


def test_a_version_is_a_sentence():
    text = logs.text_line(VERSION)
    assert text.endswith("/data/a.h5 v3 +2 KiB of 1 MiB in 0.12 s")


@pytest.mark.parametrize("name", ["\x1b[2J.h5", "\udcff.h5", "\u202e5h.h5"])
def test_a_file_name_does_nothing_to_a_terminal(name):
    text = logs.text_line({**VERSION, "path": name})
    assert text.isprintable()
    text.encode("utf-8")


def test_what_is_no_record_becomes_a_warning():
    assert logs.parse("Traceback: oh no", "worker") == {
        "event": "Traceback: oh no",
        "level": "warning",
        "process": "worker",
    }
    assert logs.parse('["a", "list"]', "worker")["level"] == "warning"


def test_the_line_view_prints_what_happens(capsys, tmp_path):
    view = LineView("text")
    view.start(Introduction(("/data",), ("/data/.vh5d/{path}",), tmp_path, "2s"))
    view.record(VERSION)
    view.overview(Overview())
    view.stop()
    first, second, third = capsys.readouterr().out.splitlines()
    assert "watching /data" in first
    assert str(tmp_path) in second
    assert "v3" in third


def test_the_json_view_prints_objects(capsys, tmp_path):
    view = LineView("json")
    view.start(Introduction(("/data",), ("s",), tmp_path, "2s"))
    view.record(VERSION)
    started, version = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert started["event"] == "started"
    assert started["watched"] == ["/data"]
    assert version["version"] == "v3"


def test_the_live_view_of_a_narrow_terminal_keeps_sizes_whole(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setenv("TERM", "xterm")
    view = LiveView()
    view.start(Introduction(("/data",), ("s",), tmp_path, "2s"))
    view.record({**VERSION, "path": "/data/a-name-that-is-rather-long.h5"})
    view.overview(Overview({State.CURRENT: 1}))
    view.stop()
    out = capsys.readouterr().out
    assert "2 KiB" in out
    assert "0.12 s" in out
    assert "1 file (1 current) · 1 version, " in out.replace("\n", " ")


def test_a_child_has_a_process_group_of_its_own():
    import os

    child = spawn(["/bin/sleep", "600"])
    try:
        assert os.getpgid(child.pid) == child.pid
    finally:
        child.kill()
        child.wait()
