"""Three hosts at one directory, while cables are pulled and processes die.

    python -m tests.campaigns.hosts --changes 5000

Each host is a network namespace with a name of its own. Two run a watcher and a worker, the third
a worker that has the directory mounted elsewhere. The broker asks for a password and is reached
through TLS only. Files are changed all the while, each again once its state was kept; meanwhile
hosts lose the broker for some seconds, workers are drained or die with all their captures,
watchers die, the broker is killed and started. In the end every settled state must have one
version and no version may be there twice, each must restore to what its file was, and each store
must verify. Exit status 1 otherwise; the seed is printed first. Needs root, for the namespaces.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
import redis

from tests.e2e.test_up import Instrument
from tests.support.network import Host, host
from tests.support.roles import Role, answers, free_ports, make_certificates, tls_relay
from tests.support.truth import Truth, Written
from tests.support.waiting import wait_for
from vh5d.service.catalog.address import connect
from vh5d.service.catalog.catalog import Catalog
from vh5d.service.catalog.source import State
from vh5d.service.running.broker import server_program

PASSWORD = "of three hosts"
#: Roles by host; the last one calls the directory otherwise.
ROLES = (("watch", "worker"), ("watch", "worker"), ("worker",))
#: Seconds between two disturbances, on average, and those that a cable is out, at most.
CALM = 6.0
LONGEST_CUT = 12.0
#: Seconds that a settled state may take to get its version, through all disturbances.
PATIENCE = 300.0
STEP = 0.05


@dataclass
class Figures:
    seed: int
    changes: int = 0
    disturbances: Counter[str] = field(default_factory=Counter)
    longest_wait: float = 0.0
    seconds: float = 0.0
    versions: int = 0
    losses: list[str] = field(default_factory=list)


class Broker:
    """A real server with a password; what it has, it has again when it was killed."""

    def __init__(self, directory: Path) -> None:
        self.home = directory / "broker"
        self.home.mkdir()
        (self.port,) = free_ports(1)
        settings = f'port {self.port}\nbind 127.0.0.1\nrequirepass "{PASSWORD}"\nsave ""\n'
        settings += f"appendonly yes\nappendfsync everysec\ndir {self.home}\n"
        (self.home / "valkey.conf").write_text(settings)
        self.url = f"redis://:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        with (self.home / "log").open("ab") as log:
            command = [server_program(), self.home / "valkey.conf"]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for(lambda: answers(self.url), "the broker", timeout=60)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Place:
    """A host, and what runs on it."""

    def __init__(self, site: Host, config: Path, roles: tuple[str, ...]) -> None:
        self.host, self.config = site, config
        self.running = {name: self._start(name) for name in roles}
        self.ended: list[Role] = []
        self.cut_until: float | None = None

    def _start(self, name: str) -> Role:
        arguments = ["--concurrency", "1"] if name == "worker" else []
        return Role(name, self.config, self.host.prefix, arguments)

    def restart(self, name: str, how: Callable[[Role], object]) -> None:
        how(self.running[name])
        self.ended.append(self.running[name])
        self.running[name] = self._start(name)

    def cut(self, seconds: float) -> None:
        self.host.cable("down")
        self.cut_until = time.monotonic() + seconds

    def heal(self, *, at_once: bool = False) -> None:
        if self.cut_until is not None and (at_once or time.monotonic() > self.cut_until):
            self.host.cable("up")
            self.cut_until = None

    def records(self) -> Iterator[str]:
        for role in (*self.ended, *self.running.values()):
            yield from (f"{self.host.name} {record}" for record in role.records)


def die(role: Role) -> None:
    """As when its host loses power: all its processes at the same time."""
    with contextlib.suppress(psutil.NoSuchProcess):
        leader = psutil.Process(role.process.pid)
        leader.send_signal(signal.SIGSTOP)
        for process in (*leader.children(recursive=True), leader):
            process.kill()
    role.kill()


class Campaign:
    """Changes, disturbances and the last count."""

    def __init__(self, directory: Path, seed: int, files: int, stack: contextlib.ExitStack) -> None:
        self.random = random.Random(seed)
        self.figures = Figures(seed)
        self.directory = directory
        data = directory / "data"
        data.mkdir()
        self.truth = Truth(data)
        self.instrument = Instrument(data, seed)
        self.instrument.paths = [data / f"sub{n % 3}" / f"run{n:02}.h5" for n in range(files)]
        self.waiting: dict[Path, tuple[Written, float]] = {}
        self.broker = Broker(directory)
        stack.callback(self.broker.kill)
        self.places = self._places(stack)
        self.catalog = Catalog(stack.enter_context(connect(self.broker.url)))

    def _places(self, stack: contextlib.ExitStack) -> list[Place]:
        sites = [stack.enter_context(host(40 + number)) for number in range(len(ROLES))]
        home = self.directory / "certificates"
        home.mkdir()
        certificates = make_certificates(home, *(f"IP:{site.gateway}" for site in sites))
        elsewhere = self.directory / "mnt"
        elsewhere.mkdir()
        sites[-1] = replace(sites[-1], mounts=((elsewhere, self.truth.data),))
        places = []
        for site, roles in zip(sites, ROLES, strict=True):
            target = ("127.0.0.1", self.broker.port)
            port = stack.enter_context(tls_relay(site.gateway, certificates, target))
            here = elsewhere if site.mounts else self.truth.data
            address = f"rediss://:{PASSWORD.replace(' ', '%20')}@{site.gateway}:{port}/0"
            settings = {
                "broker": f"{address}?ssl_ca_certs={certificates}/ca.pem",
                "path_maps": [{"from": str(here), "to": str(self.truth.data)}],
                "rescan": "60s",
                "policies": [{"name": "p", "watch": str(here), "settle": "100ms"}],
            }
            config = self.directory / f"{site.name}.yaml"
            config.write_text(json.dumps(settings))
            places.append(Place(site, config, roles))
            stack.callback(lambda place=places[-1]: [r.kill() for r in place.running.values()])
        return places

    def run(self, changes: int, calm: float = CALM) -> None:
        """Change files, and disturb, until there were so many changes."""
        began = time.monotonic()
        disturb_at = began + self.random.expovariate(1 / calm)
        while self.figures.changes < changes and not self.figures.losses:
            self.look()
            idle = [path for path in self.instrument.paths if path not in self.waiting]
            for path in idle[: changes - self.figures.changes]:
                self.instrument.change(path)
                self.waiting[path] = self.truth.note(path), time.monotonic()
                self.figures.changes += 1
                if self.figures.changes % 100 == 0:
                    print(
                        f"{self.figures.changes} changes, {time.monotonic() - began:.0f} s",
                        flush=True,
                    )
            for place in self.places:
                place.heal()
            if time.monotonic() > disturb_at:
                self.disturb()
                disturb_at = time.monotonic() + self.random.expovariate(1 / calm)
            time.sleep(STEP)
        self.finish()
        self.figures.seconds = time.monotonic() - began

    def look(self) -> None:
        """Which files' states were kept, by what the catalog says; the stores are asked later."""
        try:
            known = {Path(source.path): source for source in self.catalog.sources(self.waiting)}
        except redis.RedisError:
            return
        now = time.monotonic()
        for path, (written, since) in list(self.waiting.items()):
            source = known.get(path)
            kept = source is not None and source.state is State.CURRENT
            if kept and (source.size, source.mtime_ns) == (written.size, written.mtime_ns):
                self.truth.settled.append(written)
                self.figures.longest_wait = max(self.figures.longest_wait, now - since)
                del self.waiting[path]
            elif now - since > PATIENCE:
                self.figures.losses.append(f"{path}: not kept after {PATIENCE} s: {source}")
                del self.waiting[path]

    def disturb(self) -> None:
        """One thing that goes wrong, or that somebody does."""
        what = self.random.choices(
            ["partition", "worker dies", "watcher dies", "worker drained", "broker dies"],
            weights=[5, 2, 2, 2, 1],
        )[0]
        place = self.random.choice(self.places)
        match what:
            case "partition":
                if place.cut_until is not None:
                    return
                place.cut(self.random.uniform(0.5, LONGEST_CUT))
            case "worker dies":
                place.restart("worker", die)
            case "worker drained":
                place.restart("worker", lambda role: role.end(60))
            case "watcher dies":
                place = self.random.choice(
                    [each for each in self.places if "watch" in each.running]
                )
                place.restart("watch", die)
            case "broker dies":
                self.broker.kill()
                self.broker.start()
        self.figures.disturbances[what] += 1

    def finish(self) -> None:
        """Heal everything, wait for what is not kept yet, end in order, and count."""
        for place in self.places:
            place.heal(at_once=True)
        while self.waiting:
            self.look()
            time.sleep(STEP)
        for place in self.places:
            for name, role in place.running.items():
                status = role.end(60)
                if status != 0:
                    self.figures.losses.append(f"{name} on {place.host.name} ended with {status}")
        self.figures.losses += self.truth.losses(self.directory)
        self.figures.versions, problems = not_once(self.truth)
        self.figures.losses += problems

    def summary(self) -> str:
        figures = self.figures
        done = ", ".join(f"{what} {n}" for what, n in sorted(figures.disturbances.items()))
        return (
            f"seed: {figures.seed}\n"
            f"changes: {figures.changes} of {len(self.truth.states)} files "
            f"in {figures.seconds:.0f} s\n"
            f"disturbances: {figures.disturbances.total()} ({done})\n"
            f"settled states: {len(self.truth.settled)}; versions: {figures.versions}, "
            f"each restored and compared\n"
            f"longest wait for a version: {figures.longest_wait:.1f} s\n"
            f"losses: {len(figures.losses)}"
        )

    def dump(self) -> str:
        return "\n".join(line for place in self.places for line in place.records())


def not_once(truth: Truth) -> tuple[int, list[str]]:
    """How many versions there are; settled states without one, and versions too many."""
    problems, count = [], 0
    settled = Counter((each.path, each.size, each.mtime_ns) for each in truth.settled)
    for path in truth.states:
        versions = truth.versions(path)
        count += len(versions)
        kept = Counter((path, each.source_size, each.source_mtime_ns) for each in versions)
        wanted = Counter({key: 1 for key in settled if key[0] == path})
        problems += [f"{key}: {n} versions too many" for key, n in (kept - wanted).items()]
        problems += [f"{key}: no version of it" for key in wanted - kept]
    return count, problems


@contextlib.contextmanager
def campaign(directory: Path, seed: int, files: int) -> Iterator[Campaign]:
    """Hosts and broker, until the end."""
    with contextlib.ExitStack() as stack:
        yield Campaign(directory, seed, files, stack)


def main() -> int:
    """Run the campaign; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--changes", type=int, default=5000)
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("network namespaces need root")
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="hosts-") as directory,
        campaign(Path(directory), seed, options.files) as running,
    ):
        running.run(options.changes)
        print(running.summary())
        for loss in running.figures.losses:
            print(f"LOSS {loss}")
        if running.figures.losses:
            records = Path(tempfile.gettempdir(), f"hosts-{seed}.log")
            records.write_text(running.dump())
            print(f"what the hosts said: {records}")
    return 1 if running.figures.losses else 0


if __name__ == "__main__":
    sys.exit(main())
