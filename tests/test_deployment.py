"""The systemd unit and the Compose file: checked by the tools that read them, where present."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml

from vh5d.policy import load_config

ROOT = Path(__file__).parent.parent
UNIT = ROOT / "systemd" / "vh5d.service"
COMPOSE = ROOT / "docker-compose.yml"


def run(*command: str | Path, **kwargs: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=60, check=False, **kwargs
    )


def compose_command() -> list[str]:
    """`docker compose`, or the older program, whichever is installed."""
    if shutil.which("docker") and run("docker", "compose", "version").returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    pytest.skip("neither `docker compose` nor docker-compose is installed")


@pytest.fixture(scope="module")
def unit() -> ConfigParser:
    parser = ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str
    parser.read(UNIT)
    return parser


@pytest.fixture(scope="module")
def services() -> dict[str, dict]:
    return yaml.safe_load(COMPOSE.read_text())["services"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_finds_nothing_wrong_with_the_unit():
    done = run("systemd-analyze", "verify", "--man=no", UNIT)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_unit_waits_longer_than_the_service_needs_to_stop(unit):
    from vh5d.policy.units import parse_duration
    from vh5d.service.supervisor import STOP_TIMEOUT

    assert parse_duration(unit["Service"]["TimeoutStopSec"]) > STOP_TIMEOUT


def test_the_unit_is_told_when_the_service_is_ready(unit):
    service = unit["Service"]
    assert (service["Type"], service["NotifyAccess"]) == ("notify", "main")
    assert (service["KillMode"], service["Restart"]) == ("mixed", "on-failure")


def commands() -> list[list[str]]:
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    line = next(
        line.partition("=")[2] for line in UNIT.read_text().splitlines() if line[:9] == "ExecStart"
    )
    env, program, *unit = shlex.split(line)
    assert (env, program) == ("/usr/bin/env", "vh5d")
    return [unit, services["watcher"]["command"], services["worker"]["command"]]


@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_vh5d_knows_the_commands_that_they_give(arguments):
    # --help after them: the options are parsed, nothing is started.
    done = run(sys.executable, "-m", "vh5d", *arguments, "--help", cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_compose_accepts_the_file(tmp_path):
    done = run(*compose_command(), "-f", COMPOSE, "--project-directory", ROOT, "config")
    assert done.returncode == 0, done.stderr
    assert set(yaml.safe_load(done.stdout)["services"]) == {"broker", "watcher", "worker"}


def test_no_container_may_more_than_it_needs(services):
    assert set(services) == {"broker", "watcher", "worker"}
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["user"] not in {"root", "0"}, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["healthcheck"]["test"], name
        assert "ports" not in service, name


def test_sources_are_mounted_read_only_and_stores_go_elsewhere(services):
    config = load_config(ROOT / "config" / "compose.yaml")
    (policy,) = config.policies
    for role in ("watcher", "worker"):
        mounts = dict(entry.rsplit(":", 2)[-2:] for entry in services[role]["volumes"][:2])
        assert mounts == {"/etc/vh5d/vh5d.yaml": "ro", "/data": "ro"}
        assert "stores:/stores" in services[role]["volumes"]
    assert policy.store_for(Path("/data/a/run.h5")) == Path("/stores/a/run.h5")
    assert config.broker == "redis://broker:6379/0"
