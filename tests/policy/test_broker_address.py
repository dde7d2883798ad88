from __future__ import annotations

import pytest

from vh5d.policy.broker_address import BrokerAddress


def test_the_address_of_a_server_stays_as_it_is():
    for text in ("redis://:secret@host:6380/1", "unix:///run/a.sock?db=1"):
        address = BrokerAddress.parse(text)
        assert (address.url, address.tls, address.sentinels) == (text, None, None)


def test_certificates_are_looked_at_unless_the_address_says_otherwise():
    address = BrokerAddress.parse("rediss://host/0?ssl_ca_certs=/etc/ca.pem")
    assert address.tls == {
        "ssl_cert_reqs": "required",
        "ssl_check_hostname": True,
        "ssl_ca_certs": "/etc/ca.pem",
    }
    assert "ssl_cert_reqs=required" in address.url
    assert "ssl_ca_certs=/etc/ca.pem" in address.url
    blind = BrokerAddress.parse("rediss://host/0?ssl_cert_reqs=none")
    assert blind.tls == {"ssl_cert_reqs": "none", "ssl_check_hostname": False}


def test_sentinels_know_the_server():
    address = BrokerAddress.parse(
        "sentinel://me:p%40ss@a:1,b,[::1]:3/main/2?sentinel_password=other&ssl_ca_certs=/ca.pem"
    )
    assert address.login == {"username": "me", "password": "p@ss", "db": 2}
    assert address.sentinels is not None
    assert address.sentinels.hosts == (("a", 1), ("b", 26379), ("::1", 3))
    assert address.sentinels.service == "main"
    assert address.sentinels.login == {"password": "other"}
    assert address.tls is not None
    assert address.tls["ssl_cert_reqs"] == "required"
    assert address.sentinel_url("::1", 3) == "sentinel://me:p%40ss@[::1]:3/2"


def test_sentinels_in_the_clear():
    address = BrokerAddress.parse("sentinel://a/main")
    assert (address.tls, address.login) == (None, {})
    assert address.sentinel_url("a", 26379) == "sentinel://a:26379/0"
    assert BrokerAddress.parse("sentinel://a/main?ssl=true").tls is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host",
        "http://host",
        "redis://",
        "redis://:pa#ss@host/0",
        "redis://host:port",
        "unix://",
        "sentinel://a:26379",
        "sentinel:///main",
        "sentinel://a,/main",
        "sentinel://a:b/main",
        "sentinel://a/main/x",
        "sentinel://a/main/0/more",
        "sentinel://a/main?sentinel_pasword=secret",
        "sentinel://a/main?ssl=perhaps",
    ],
)
def test_what_is_no_address_is_refused_without_being_repeated(text):
    with pytest.raises(ValueError) as told:  # noqa: PT011 - of whatever kind
        BrokerAddress.parse(text)
    assert "pa#ss" not in str(told.value)
    assert "secret" not in str(told.value)
