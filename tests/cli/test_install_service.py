"""Units for this program, these settings, this user; no service manager runs where this is tested.

What a running one is told, a stand-in of `systemctl` writes down.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from vh5d.service.running import units

UNITS = Path("etc/systemd/system")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    # As where no service manager of this user runs.
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "none"))
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    return tmp_path / "home"


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "vh5d.yaml"
    (tmp_path / "my data").mkdir()
    file.write_text(
        "policies:\n- {name: one, watch: 'my data'}\n"
        "- {name: two, watch: /srv/50%, store: '/stores/{path}'}\n"
    )
    return file


def setting(path: Path, name: str) -> list[str]:
    lines = path.read_text().splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{name}=")]


def verified(*paths: Path) -> None:
    if shutil.which("systemd-analyze"):
        command = ["systemd-analyze", "verify", "--man=no", *map(str, paths)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_service_of_ones_own(vh5d, home, config):
    done = vh5d("install-service", "--user", "--config", config, "--yes")
    assert done.code == 0, done.err
    assert "systemctl --user enable --now vh5d.service vh5d-verify.timer" in done.out
    assert "loginctl enable-linger" in done.out
    unit = home / ".config/systemd/user/vh5d.service"
    (command,) = setting(unit, "ExecStart")
    program = " ".join(map(units.quoted, units.this_program()))
    assert command == f"{program} up --config {config}"
    assert setting(unit, "WantedBy") == ["default.target"]
    assert setting(unit, "ExecReload") == ["/bin/kill -HUP $MAINPID"]
    assert setting(unit, "MemoryDenyWriteExecute") == ["yes"]
    for refused in ("User", "Group", "ProtectSystem", "PrivateTmp", "StateDirectory", "After"):
        assert setting(unit, refused) == [], refused
    verified(unit)
    assert (
        vh5d("install-service", "--user", "--config", config, "--yes").out.count("should be") == 3
    )


def test_a_service_of_the_machine_may_write_where_its_stores_are(vh5d, home, config, tmp_path):
    done = vh5d("install-service", "--config", config, "--root", tmp_path / "image", "--yes")
    assert done.code == 0, done.err
    unit = tmp_path / "image" / UNITS / "vh5d.service"
    assert setting(unit, "ExecStart")[0].endswith(f"up --config {config} --state %S/vh5d")
    paths = unit.parent / "vh5d.service.d" / "vh5d-paths.conf"
    assert set(setting(paths, "ReadWritePaths")) == {f'"-{tmp_path}/my data"', "-/stores"}
    shutil.copytree(unit.parent, tmp_path / "all")
    verified(tmp_path / "all" / "vh5d.service", tmp_path / "all" / "vh5d-verify.timer")


def test_data_in_homes_is_seen(vh5d, home, tmp_path):
    config = tmp_path / "vh5d.yaml"
    config.write_text("policies: [{watch: /home/me/data, store: '/stores/{path}'}]")
    vh5d("install-service", "--config", config, "--root", tmp_path, "--yes", "--run-as", "me")
    paths = tmp_path / UNITS / "vh5d.service.d" / "vh5d-paths.conf"
    assert setting(paths, "ProtectHome") == ["read-only"]
    assert setting(paths, "ReadWritePaths") == ["-/stores"]
    assert setting(paths.parent.parent / "vh5d.service", "User") == ["me"]


def test_with_a_broker_elsewhere_the_roles_are_units_of_their_own(vh5d, home, tmp_path):
    config = tmp_path / "vh5d.yaml"
    config.write_text("broker: redis://queue\npolicies: [{watch: /data}]")
    done = vh5d(
        "install-service", "--config", config, "--root", tmp_path, "--yes", "--workers", "3"
    )
    expected = {units.WATCH, units.WORKER, units.TARGET, units.VERIFY, units.TIMER}
    assert {path.name for path in (tmp_path / UNITS).glob("*.*") if path.is_file()} == expected
    workers = "vh5d-worker@1.service vh5d-worker@2.service vh5d-worker@3.service"
    assert f"enable --now vh5d-watch.service {workers} vh5d.target" in done.out


def test_directories_will_do(vh5d, home, tmp_path):
    (tmp_path / "data").mkdir()
    assert vh5d("install-service", "--user", "data", "--yes").code == 0
    directory = home / ".config/systemd/user"
    assert setting(directory / "vh5d.service", "ExecStart")[0].endswith(f" up {tmp_path}/data")
    assert setting(directory / "vh5d.service", "ExecReload") == []  # there is nothing to reload
    (verify,) = setting(directory / "vh5d-verify.service", "ExecStart")
    assert verify.endswith(f"verify {tmp_path}/data/.vh5d")


def test_nothing_is_written_unasked(vh5d, home, config):
    done = vh5d("install-service", "--user", "--config", config, "--dry-run")
    assert (done.code, done.out.count("would write")) == (0, 3)
    assert vh5d("install-service", "--user", "--config", config).code == 2
    assert not home.exists()


def test_what_somebody_edited_is_not_overwritten_in_silence(vh5d, home, config):
    vh5d("install-service", "--user", "--config", config, "--yes")
    unit = home / ".config/systemd/user/vh5d.service"
    edited = unit.read_text().replace("WatchdogSec=2min", "WatchdogSec=9min")
    unit.write_text(edited)
    for option in ((), ("--uninstall",)):
        done = vh5d("install-service", "--user", "--config", config, "--yes", *option)
        assert done.code == 2
        assert f"{unit}: edited by somebody, and left as it is" in done.line
        assert unit.read_text() == edited
        assert (unit.parent / "vh5d-verify.timer").exists()
    done = vh5d("install-service", "--user", "--config", config, "--yes", "--force")
    assert "was edited; replaced" in done.out
    assert unit.with_name("vh5d.service.edited").read_text() == edited
    assert setting(unit, "WatchdogSec") == ["2min"]


def test_what_changed_in_the_settings_is_renewed(vh5d, home, config, tmp_path):
    image = ("--root", tmp_path / "image", "--yes")
    vh5d("install-service", "--config", config, *image)
    config.write_text(config.read_text().replace("/stores/", "/elsewhere/"))
    done = vh5d("install-service", "--config", config, *image)
    assert done.out.count("renewed") == 2  # the drop-ins
    assert "systemctl try-restart vh5d.service vh5d-verify.timer" in done.out
    paths = tmp_path / "image" / UNITS / "vh5d.service.d" / "vh5d-paths.conf"
    assert "-/elsewhere" in setting(paths, "ReadWritePaths")


def test_uninstalling_leaves_nothing_of_ours_and_all_that_is_others(vh5d, home, config, tmp_path):
    image = ("--root", tmp_path / "image", "--yes")
    vh5d("install-service", "--config", config, *image)
    theirs = tmp_path / "image" / UNITS / "vh5d.service.d" / "mine.conf"
    theirs.write_text("[Service]\nNice=5\n")
    done = vh5d("install-service", "--uninstall", *image)
    assert done.code == 0, done.err
    assert "disable --now vh5d.service vh5d-verify.timer" in done.out
    assert [p for p in (tmp_path / "image" / UNITS).rglob("*") if p.is_file()] == [theirs]
    done = vh5d("install-service", "--uninstall", *image)
    assert "there are no units of vh5d" in done.line


def test_a_running_service_manager_is_told(vh5d, home, config, tmp_path, monkeypatch):
    told = tmp_path / "told"
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$*" >> {told}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    done = vh5d("install-service", "--user", "--config", config, "--yes", "--json")
    assert done.json["to_run"] == [each for each in done.json["to_run"] if "linger" in each]
    assert vh5d("install-service", "--user", "--uninstall", "--yes").code == 0
    assert told.read_text().splitlines() == [
        "--user show --property=Version",
        "--user daemon-reload",
        "--user enable --now vh5d.service vh5d-verify.timer",
        "--user show --property=Version",
        "--user disable --now vh5d.service vh5d-verify.timer",
        "--user show --property=Version",
        "--user daemon-reload",
    ]
    program.write_text("#!/bin/sh\ncase $2 in show) ;; *) echo no such unit >&2; exit 5;; esac\n")
    done = vh5d("install-service", "--user", "--config", config, "--yes")
    assert done.code == 1
    assert "systemctl --user daemon-reload: no such unit" in done.line


def test_who_may_not_write_there_is_told_what_to_do(vh5d, config):
    line = vh5d("install-service", "--config", config, "--yes", "--root", "/proc").line
    assert "say --user for a service of your own" in line


@pytest.mark.parametrize(
    ("argument", "written"),
    [
        ("/a/b", "/a/b"),
        ("/a b", '"/a b"'),
        ("50%", '"50%%"'),
        ('a"b\\c', '"a\\"b\\\\c"'),
        ("$HOME", '"$$HOME"'),
    ],
)
def test_arguments_are_written_so_that_systemd_reads_them_as_they_are(argument, written):
    assert units.quoted(argument) == written
