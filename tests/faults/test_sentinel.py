"""A broker that fails over: Sentinels name another server, and everybody goes on with that."""

from __future__ import annotations

import contextlib
import json

import pytest
import redis

from tests.e2e.test_up import kept, versions, write_h5py
from tests.support.roles import Role, free_ports, server
from tests.support.waiting import wait_for
from vh5d.service.catalog.address import connect

PASSWORD = "pa55 of/the:servers"


@pytest.fixture
def servers(tmp_path):
    """A primary, its replica, a Sentinel that watches them, and the address of it all."""
    first, second, watching = free_ports(3)
    secret = (f'requirepass "{PASSWORD}"', f'primaryauth "{PASSWORD}"')
    with contextlib.ExitStack() as stack:
        place = "redis://:pa55%20of%2Fthe%3Aservers@127.0.0.1:{}/0"
        primary = stack.enter_context(server(tmp_path, first, *secret, ready=place.format(first)))
        following = (*secret, f"replicaof 127.0.0.1 {first}")
        stack.enter_context(server(tmp_path, second, *following, ready=place.format(second)))
        settings = (
            f"sentinel monitor main 127.0.0.1 {first} 1",
            f'sentinel auth-pass main "{PASSWORD}"',
            "sentinel down-after-milliseconds main 1000",
            "sentinel failover-timeout main 6000",
        )
        stack.enter_context(server(tmp_path, watching, *settings, sentinel=True))
        sentinel = redis.Redis(port=watching, decode_responses=True)
        wait_for(lambda: sentinel.sentinel_slaves("main"), "the replica to be known")
        # One that is not there: any of them will do.
        dead = free_ports(1)[0]
        hosts = f"127.0.0.1:{dead},127.0.0.1:{watching}"
        yield primary, sentinel, f"sentinel://:pa55%20of%2Fthe%3Aservers@{hosts}/main/0"
        sentinel.close()


@pytest.fixture
def roles(tmp_path, data, servers):
    config = tmp_path / "vh5d.yaml"
    policy = {"name": "p", "watch": str(data), "settle": "200ms"}
    config.write_text(json.dumps({"broker": servers[2], "policies": [policy]}))
    running = [Role("watch", config), Role("worker", config, arguments=["--concurrency", "1"])]
    yield running
    for each in running:
        each.end()


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "why", ["the primary dies", pytest.param("somebody asks for it", marks=pytest.mark.slow)]
)
def test_another_server_takes_over(servers, roles, data, why):
    primary, sentinel, url = servers
    write_h5py(data / "before.h5")
    wait_for(lambda: kept(data / "before.h5", data), "a version before", timeout=60)
    place = sentinel.sentinel_get_master_addr_by_name("main")
    if why == "the primary dies":
        primary.kill()
    else:
        sentinel.sentinel_failover("main")
    write_h5py(data / "during.h5")
    wait_for(
        lambda: sentinel.sentinel_get_master_addr_by_name("main") != place, "the other", timeout=60
    )
    wait_for(lambda: kept(data / "during.h5", data), "the version", timeout=100)
    write_h5py(data / "after.h5")
    wait_for(lambda: kept(data / "after.h5", data), "a version after", timeout=60)
    for name in ("before", "during", "after"):
        assert len(versions(data / f"{name}.h5", data)) == 1
    assert all(role.process.poll() is None for role in roles)
    with connect(url) as client:
        assert client.info("replication")["role"] == "master"
        assert client.set("test", 1)
