"""The units of systemd and the Compose file: checked by the tools that read them, where present."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.sandbox import settings
from vh5d.policy import load_config

ROOT = Path(__file__).parent.parent
UNITS = ROOT / "systemd"
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))
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


def said(unit: str) -> dict[str, str]:
    """The last that `[Service]` says of each setting."""
    return {name: values[-1] for name, values in settings(UNITS / unit).items()}


@pytest.fixture(scope="module")
def services() -> dict[str, dict]:
    return yaml.safe_load(COMPOSE.read_text())["services"]


NO_SYSTEMD = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed"
)


@NO_SYSTEMD
def test_systemd_finds_nothing_wrong_with_the_units():
    done = run("systemd-analyze", "verify", "--man=no", *sorted(UNITS.iterdir()))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


#: Of 10, worst; as systemd 252 counts. Later ones weigh a few settings in another way.
EXPOSURE = 1.5


@NO_SYSTEMD
@pytest.mark.parametrize("unit", SERVICES)
def test_a_service_is_exposed_no_more_than_it_must_be(unit):
    done = run("systemd-analyze", "security", "--offline=true", "--no-pager", UNITS / unit)
    if "offline" in done.stderr:
        pytest.skip("systemd-analyze is older than 250: it asks a service that runs")
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    assert float(found[1]) <= EXPOSURE


def test_a_service_is_given_the_time_that_it_needs_to_stop():
    from vh5d.policy.units import parse_duration
    from vh5d.service.pulse import PATIENCE
    from vh5d.service.supervisor import STOP_TIMEOUT

    assert parse_duration(said("vh5d.service")["TimeoutStopSec"]) > STOP_TIMEOUT
    for unit in SERVICES:
        if said(unit)["Type"] == "notify":
            assert parse_duration(said(unit)["WatchdogSec"]) > PATIENCE


@pytest.mark.parametrize("unit", SERVICES)
def test_systemd_is_told_how_a_service_is(unit):
    service = said(unit)
    if service["Type"] == "oneshot":
        assert unit == "vh5d-verify.service"
        return
    assert (service["Type"], service["NotifyAccess"]) == ("notify", "main")
    assert (service["Restart"], service["User"]) == ("on-failure", "vh5d")


def test_every_unit_is_one_that_install_service_knows():
    from vh5d.service.units import UNITS as KNOWN

    assert {path.name for path in UNITS.iterdir()} == set(KNOWN)


def commands() -> list[list[str]]:
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    units = []
    for unit in SERVICES:
        env, program, *arguments = shlex.split(said(unit)["ExecStart"])
        assert (env, program) == ("/usr/bin/env", "vh5d")
        units.append(arguments)
    return [*units, services["watcher"]["command"], services["worker"]["command"]]


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
