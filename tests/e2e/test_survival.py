"""Processes that die, instances that meet, requests to stop."""

from __future__ import annotations

import signal
import socket

import psutil
import pytest

from tests.e2e.test_up import kept, store_of, write_h5py
from tests.support.service import run_vh5d
from tests.support.waiting import wait_for
from vh5d.hdf5.atomic_file import AtomicFile


def gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("role", ["worker", "broker", "watch"])
def test_it_goes_on_when_a_process_is_killed(data, up, role):
    up.start()
    write_h5py(data / "before.h5")
    wait_for(lambda: kept(data / "before.h5", data), "a version before")
    victim = up.child(role)
    victim.kill()
    write_h5py(data / "during.h5")
    wait_for(lambda: up.said("started again"), "the restart")
    write_h5py(data / "after.h5")
    for name in ("during", "after"):
        wait_for(lambda name=name: kept(data / f"{name}.h5", data), f"the version {name}")
    assert up.child(role).pid != victim.pid
    assert up.stop() == 0


def test_a_capture_whose_process_is_killed_is_done_again(data, up):
    up.start()
    path = data / "a.h5"
    write_h5py(path)
    wait_for(lambda: kept(path, data), "the first version")
    held = AtomicFile.open(store_of(path, data))  # the capture waits for it
    try:
        write_h5py(path)
        wait_for(lambda: up.status()["sources"][0]["state"] == "capturing", "the capture")
        for child in up.child("worker").children():
            child.kill()
        wait_for(lambda: up.said("a capture ended its process"), "the news")
    finally:
        held.close()
    wait_for(lambda: kept(path, data), "the second version")
    assert up.stop() == 0


def test_nothing_outlives_it(data, up):
    up.start()
    write_h5py(data / "before.h5")
    wait_for(lambda: kept(data / "before.h5", data), "a version before")
    children = psutil.Process(up.process.pid).children(recursive=True)
    assert len(children) >= 4
    up.process.send_signal(signal.SIGKILL)
    up.process.wait()
    wait_for(lambda: all(gone(child) for child in children), "its processes to end")
    up.start()
    write_h5py(data / "a.h5")
    wait_for(lambda: kept(data / "a.h5", data), "a version after the restart")


def test_an_orderly_stop_ends_every_process(data, up):
    up.start()
    children = psutil.Process(up.process.pid).children(recursive=True)
    assert up.stop() == 0
    assert all(gone(child) for child in children)
    assert up.status()["running"] is False


def test_a_second_request_to_stop_does_not_wait_for_captures(data, up):
    up.start()
    path = data / "a.h5"
    write_h5py(path)
    wait_for(lambda: kept(path, data), "the first version")
    held = AtomicFile.open(store_of(path, data))  # the capture waits for it
    try:
        write_h5py(path)
        wait_for(lambda: up.status()["sources"][0]["state"] == "capturing", "the capture")
        up.process.send_signal(signal.SIGINT)
        wait_for(lambda: any("stopping" in record["event"] for record in up.records), "the news")
        assert up.stop() == 0
        assert kept(path, data) is None
    finally:
        held.close()
    up.start()
    wait_for(lambda: kept(path, data), "the version, after the next start")


def test_systemd_is_told(data, up, tmp_path, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(30)
        up.start()
        while not (told := systemd.recv(1000)).startswith(b"READY=1"):
            assert told == b"WATCHDOG=1"
        assert systemd.recv(1000) == b"WATCHDOG=1"
        assert up.stop() == 0
        while (told := systemd.recv(1000)) == b"WATCHDOG=1":
            pass
        assert told.startswith(b"STOPPING=1")


def test_a_second_instance_with_the_same_state_is_refused(data, up):
    up.start()
    second = run_vh5d("up", "--config", up.config, "--state", up.state)
    output, errors = second.communicate(timeout=60)
    assert second.returncode == 1
    assert output == ""
    assert f"the state directory {up.state} is in use" in errors
    assert f"kill {up.process.pid}" in errors
    assert len(errors.splitlines()) == 1


def test_a_second_instance_on_the_same_directory_is_refused(data, up, tmp_path):
    up.start()
    second = run_vh5d("up", data, "--state", tmp_path / "other")
    _, errors = second.communicate(timeout=60)
    assert second.returncode == 1
    assert f"{data} is watched already" in errors
    assert len(errors.splitlines()) == 1


def test_a_directory_that_is_not_there_is_refused(tmp_path):
    done = run_vh5d("up", tmp_path / "nowhere")
    _, errors = done.communicate(timeout=60)
    assert done.returncode == 2
    assert f"{tmp_path / 'nowhere'} does not exist" in errors
    assert "mkdir" in errors
    assert not (tmp_path / "nowhere").exists()


def test_a_directory_is_made_on_request(tmp_path):
    up = run_vh5d("up", tmp_path / "new", "--create", "--state", tmp_path / "state")
    wait_for((tmp_path / "new" / ".vh5d").is_dir, "the directory")
    wait_for((tmp_path / "state" / "service.json").exists, "the service")
    up.terminate()
    output, errors = up.communicate(timeout=60)
    assert up.returncode == 0, errors
    assert f"watching {tmp_path / 'new'}" in output
