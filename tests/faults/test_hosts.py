"""A watcher and a worker on hosts of their own, and a network that fails between them.

The broker asks for a password and is reached through TLS only.
"""

from __future__ import annotations

import contextlib
import json
import shutil

import pytest

from tests.e2e.test_up import kept, versions, write_h5py
from tests.support.network import host
from tests.support.roles import Role, free_ports, make_certificates, server, tls_relay
from tests.support.waiting import wait_for
from vh5d.service.catalog.address import connect
from vh5d.service.catalog.catalog import Catalog

PASSWORD = "of-two-hosts"


@pytest.fixture
def hosts(tmp_path, data):
    """A watcher's, a worker's, and the broker's address for each, all on one file system."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make certificates")
    with contextlib.ExitStack() as stack:
        network = [stack.enter_context(host(number)) for number in (11, 12)]
        certificates = make_certificates(tmp_path, *(f"IP:{each.gateway}" for each in network))
        (port,) = free_ports(1)
        ready = f"redis://:{PASSWORD}@127.0.0.1:{port}/0"
        settings = ("bind 127.0.0.1", f"requirepass {PASSWORD}")
        stack.enter_context(server(tmp_path, port, *settings, ready=ready))
        urls = []
        for each in network:
            relay = tls_relay(each.gateway, certificates, ("127.0.0.1", port))
            address = f"{each.gateway}:{stack.enter_context(relay)}"
            urls.append(f"rediss://:{PASSWORD}@{address}/0?ssl_ca_certs={tmp_path}/ca.pem")
        yield network, urls


@pytest.fixture
def start(tmp_path, data):
    running = []

    def role(name, place, url):
        config = tmp_path / f"{name}.yaml"
        policy = {"name": "p", "watch": str(data), "settle": "200ms"}
        config.write_text(json.dumps({"broker": url, "policies": [policy]}))
        running.append(Role(name, config, place.prefix))
        return running[-1]

    yield role
    for each in running:
        each.end()


@pytest.mark.parametrize("lost", ["watch", "worker"])
def test_a_host_that_loses_the_broker_goes_on_when_it_has_it_again(hosts, start, data, lost):
    network, urls = hosts
    roles = {
        name: start(name, place, url)
        for name, place, url in zip(("watch", "worker"), network, urls, strict=True)
    }
    write_h5py(data / "before.h5")
    wait_for(lambda: kept(data / "before.h5", data), "a version before", timeout=60)
    cut = network[["watch", "worker"].index(lost)]
    cut.cable("down")
    write_h5py(data / "during.h5")
    if lost == "watch":
        said = "the broker does not answer, going on without it"
        wait_for(lambda: roles["watch"].said(said), "the notice", timeout=60)
        assert versions(data / "during.h5", data) == []
    else:
        with connect(urls[0]) as client:
            catalog = Catalog(client)
            wait_for(lambda: catalog.source(data / "during.h5"), "the request", timeout=60)
    cut.cable("up")
    wait_for(lambda: kept(data / "during.h5", data), "the version", timeout=100)
    write_h5py(data / "after.h5")
    wait_for(lambda: kept(data / "after.h5", data), "a version after", timeout=60)
    assert all(role.process.poll() is None for role in roles.values())
    with connect(urls[0]) as client:
        roster = Catalog(client).roster
        there = [roster.members(kind)[-1]["host"] for kind in ("watchers", "workers")]
    assert there == [each.name for each in network]
    for name in ("before", "during", "after"):
        assert len(versions(data / f"{name}.h5", data)) == 1
