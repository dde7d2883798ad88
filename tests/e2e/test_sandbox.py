"""The real program with the restrictions of its units, as far as they go without systemd."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support import sandbox
from tests.support.waiting import wait_for
from vh5d.store.reader import open_store

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "systemd"

pytestmark = pytest.mark.skipif(sandbox.why_not() is not None, reason=sandbox.why_not() or "")


def confined(unit: str, *writable: Path) -> list[str]:
    options = [text for path in writable for text in ("--write", str(path))]
    own = [sys.executable, "-m", "tests.support.sandbox", str(UNITS / unit), *options]
    return [*own, "--", "/usr/bin/env", "PYTHONDONTWRITEBYTECODE=1"]


def run(prefix: list[str], *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*prefix, *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def damage(store: Path) -> None:
    """A wrong byte in the only chunk that it has."""
    with open_store(store) as reader:
        pools = reader.file["_version_data/pools"]
        table = next(iter(pools.values()))["chunk_table"]
        address = int(table[0, 0])
    with store.open("r+b") as file:
        file.seek(address)
        byte = file.read(1)[0]
        file.seek(address)
        file.write(bytes([byte ^ 0xFF]))


def test_the_sandbox_is_one(tmp_path):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    code = (
        "import ctypes, mmap, os, socket, sys\n"
        "from pathlib import Path\n"
        "def refused(what, error):\n"
        "    try: what()\n"
        "    except OSError as e: assert e.errno == error, (what, e)\n"
        "    else: raise SystemExit(f'{what} was allowed')\n"
        f"Path({str(inside)!r}, 'a').touch(mode=0o666)\n"
        f"assert Path({str(inside)!r}, 'a').stat().st_mode & 0o777 == 0o640\n"
        f"refused(Path({str(outside)!r}, 'a').touch, 30)\n"  # EROFS
        "refused(lambda: mmap.mmap(-1, 4096, prot=7), 1)\n"  # EPERM
        "refused(lambda: os.nice(-1), 1)\n"
        "refused(lambda: os.setuid(1), 1)\n"
        f"refused(lambda: os.chmod({str(inside / 'a')!r}, 0o4755), 1)\n"
        "refused(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW), 97)\n"
        "assert [p for p in os.listdir('/proc') if p.isdigit()]\n"
    )
    done = run(confined("vh5d.service", inside), sys.executable, "-c", code)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_whole_service_works_in_it(up, data, tmp_path):
    up.state.mkdir(mode=0o700)
    up.start(confined("vh5d.service", data, up.state))
    file = data / "run.h5"
    with h5py.File(file, "w") as f:
        f.create_dataset("x", data=np.arange(50000), chunks=(1000,), compression="gzip")
    wait_for(lambda: up.said("version"), "the first version", timeout=120)
    with h5py.File(file, "r+") as f:
        f["x"][:1000] = 0
    wait_for(lambda: len(up.said("version")) == 2, "the second version", timeout=120)
    (root,) = up.status()["roots"]
    assert root["health"] == "events"
    with h5py.File(data / "damaged.h5", "w") as f:
        f["x"] = np.arange(1000)
    wait_for(lambda: len(up.said("version")) == 3, "a version of another file", timeout=120)
    damage(data / ".vh5d" / "damaged.h5")
    verify = [sys.executable, "-m", "vh5d", "verify", "--config", str(up.config)]
    verify += ["--state", str(up.state), "--json"]
    unit = confined("vh5d-verify.service", data)
    done = run(unit, *verify, str(data / ".vh5d" / "damaged.h5"))
    assert (done.returncode, done.stderr) == (1, "")  # and nothing kept it from telling
    (data / ".vh5d" / "damaged.h5").unlink()
    assert up.stop() == 0
    with open_store(data / ".vh5d" / "run.h5") as store:
        assert [version.name for version in store.versions] == ["v1", "v2"]
    assert not [each for each in up.records if each.get("level") in {"warning", "error"}]

    done = run(unit, *verify)
    assert done.returncode == 0, done.stderr
    (checked,) = json.loads(done.stdout)["stores"]
    assert (checked["ok"], checked["versions"]) == (True, 2)
