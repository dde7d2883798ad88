"""The units of systemd and the Compose file: checked by the tools that read them, where present."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.support.sandbox import settings
from tests.support.waiting import wait_for
from vh5d.policy import Config, load_config

ROOT = Path(__file__).parent.parent
UNITS = ROOT / "systemd"
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))
COMPOSE = ROOT / "docker-compose.yml"
CONTAINERS = {"broker", "watcher", "worker", "prometheus"}


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
    from vh5d.service.running.pulse import PATIENCE
    from vh5d.service.running.supervisor import STOP_TIMEOUT

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


#: What no service may be without, whatever that counts for in its exposure.
CONFINED = {
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "ProtectProc": "invisible",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "RestrictNamespaces": "yes",
    "MemoryDenyWriteExecute": "yes",
    "SystemCallArchitectures": "native",
}


@pytest.mark.parametrize("unit", SERVICES)
def test_no_service_may_more_than_it_needs(unit):
    service = said(unit)
    assert {name: service.get(name) for name in CONFINED} == CONFINED
    calls = settings(UNITS / unit)["SystemCallFilter"]
    assert calls[:2] == ["@system-service", "~@privileged @resources"]


def test_every_unit_is_one_that_install_service_knows():
    from vh5d.service.running.units import UNITS as KNOWN

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
    assert set(yaml.safe_load(done.stdout)["services"]) == CONTAINERS


def test_no_container_may_more_than_it_needs(services):
    assert set(services) == CONTAINERS
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["user"] not in {"root", "0"}, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["healthcheck"]["test"], name
        assert service["mem_limit"], name
        assert service["pids_limit"], name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
    assert "ports" not in services["broker"]
    assert services["broker"]["networks"] == ["queue"]
    assert yaml.safe_load(COMPOSE.read_text())["networks"]["queue"] == {"internal": True}


def compose_config(secret: Path) -> Config:
    """What the containers read, with the password elsewhere."""
    text = (ROOT / "config" / "compose.yaml").read_text()
    file = secret.with_name("compose.yaml")
    file.write_text(text.replace("/run/secrets/broker_password", str(secret)))
    return load_config(file)


def test_sources_are_mounted_read_only_and_stores_go_elsewhere(services, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("abc\n")
    config = compose_config(secret)
    (policy,) = config.policies
    for role in ("watcher", "worker"):
        mounts = dict(entry.rsplit(":", 2)[-2:] for entry in services[role]["volumes"][:2])
        assert mounts == {"/etc/vh5d/vh5d.yaml": "ro", "/data": "ro"}
        assert "stores:/stores" in services[role]["volumes"]
        assert services[role]["secrets"] == ["broker_password"]
    assert policy.store_for(Path("/data/a/run.h5")) == Path("/stores/a/run.h5")
    assert config.broker == "redis://:abc@broker:6379/0"


def test_the_broker_asks_for_the_password_and_nobody_sees_it(services, tmp_path):
    import redis

    from vh5d.service.running.broker import server_program

    secret, socket = tmp_path / "secret", tmp_path / "socket"
    secret.write_text("abc\n")
    shell, option, script = services["broker"]["command"]
    script = script.replace("$$", "$").replace("/tmp/", f"{tmp_path}/")
    script = script.replace("/run/secrets/broker_password", str(secret))
    script = script.replace("--dir /data", f"--dir {tmp_path}")
    started = f"{server_program()} {tmp_path}/valkey.conf --port 0 --unixsocket {socket}"
    script = script.replace(f"valkey-server {tmp_path}/valkey.conf", started)
    with subprocess.Popen([shell, option, script], stdout=subprocess.DEVNULL) as server:
        try:
            wait_for(socket.exists, "the server")
            anybody = redis.Redis(unix_socket_path=str(socket))
            with anybody, pytest.raises(redis.AuthenticationError):
                anybody.ping()
            with redis.Redis(unix_socket_path=str(socket), password="abc") as ours:
                assert ours.ping()
                assert ours.config_get("appendonly")["appendonly"] == "yes"
            assert b"abc" not in Path(f"/proc/{server.pid}/cmdline").read_bytes()
        finally:
            server.kill()
    assert (tmp_path / "valkey.conf").stat().st_mode & 0o077 == 0


def test_the_image_has_all_that_the_wheel_is_made_of():
    copied = [
        Path(name)
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for name in line.split()[1:-1]
    ]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = [
        "pyproject.toml",
        project["project"]["readme"],
        *project["project"]["license-files"],
        *wheel["packages"],
        *wheel["force-include"],
        *wheel["shared-data"],
    ]
    for name in needed:
        assert any(Path(name).is_relative_to(each) for each in copied), name
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for path in copied:
        assert f"!{path}" in ignored, path
