"""The address of a broker: one server, or several Sentinels that know which server it is.

``sentinel://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT],…/NAME[/DATABASE][?OPTIONS]``: user and
password are those of the servers; those of the Sentinels are options.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

EXPECTED = (
    "expected embedded, redis://HOST:PORT/0, rediss://…, unix:///PATH "
    "or sentinel://HOST:26379,HOST:26379/NAME"
)
SCHEMES = ("redis", "rediss", "unix", "sentinel")
SENTINEL_PORT = 26379
_SECURE = {"ssl_cert_reqs": "required", "ssl_check_hostname": "true"}
_TLS = (
    "ssl_ca_certs",
    "ssl_ca_path",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_password",
    "ssl_cert_reqs",
    "ssl_check_hostname",
)
_OF_SENTINELS = {"sentinel_username": "username", "sentinel_password": "password"}


@dataclass(frozen=True)
class Sentinels:
    """Who knows the server, and what it is called there.

    Parameters
    ----------
    hosts
        Where they listen.
    service
        What the server is called.
    login
        `username` and `password` of the Sentinels, as far as they ask for them.
    """

    hosts: tuple[tuple[str, int], ...]
    service: str
    login: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class BrokerAddress:
    """What a client has to know.

    Parameters
    ----------
    url
        The server's, complete; of a server that Sentinels know, without its place.
    login
        Its `username` and `password`, database as `db`.
    tls
        Options of redis-py that begin with `ssl_`; None: in the clear.
    sentinels
        Who knows its place.
    """

    url: str
    login: Mapping[str, str | int] = field(default_factory=dict)
    tls: Mapping[str, str | bool] | None = None
    sentinels: Sentinels | None = None

    @classmethod
    def parse(cls, text: str) -> BrokerAddress:
        """Read an address.

        Raises
        ------
        ValueError
            It is none. The message does not repeat it: there may be a password in it.
        """
        try:
            parts = urlsplit(text)
            _ = parts.port if parts.scheme != "sentinel" else None
        except ValueError:
            raise ValueError("this is not a URL") from None
        if parts.scheme not in SCHEMES or parts.fragment:
            raise ValueError("this is not a broker")
        if parts.scheme == "sentinel":
            return _parse_sentinels(text)
        complete = parts.path not in {"", "/"} if parts.scheme == "unix" else bool(parts.hostname)
        if not complete:
            raise ValueError("this is not a broker")
        if parts.scheme != "rediss":
            return cls(text)
        # Certificates are looked at unless it says otherwise: Celery's own default is not to.
        options = _SECURE | dict(parse_qsl(parts.query))
        url = urlunsplit(parts._replace(query=urlencode(options, safe="/")))
        return cls(url, tls=_tls(options))

    def sentinel_url(self, host: str, port: int) -> str:
        """The address of one Sentinel with the login of the server: what kombu reads."""
        user, password = (quote(str(self.login.get(k, "")), safe="") for k in _LOGIN)
        login = f"{user}:{password}@" if password else ""
        place = f"[{host}]" if ":" in host else host
        return f"sentinel://{login}{place}:{port}/{self.login.get('db', 0)}"


_LOGIN = ("username", "password")


def _parse_sentinels(text: str) -> BrokerAddress:
    parts = urlsplit(text)
    userinfo, _, places = parts.netloc.rpartition("@")
    names = [unquote(name) for name in parts.path.split("/")[1:]]
    hosts = tuple(_place(place) for place in places.split(","))
    if not names or not names[0] or len(names) > 2:
        raise ValueError("the name of the server is missing, or it is followed by too much")
    options = dict(parse_qsl(parts.query))
    wrong = set(options) - {*_TLS, *_OF_SENTINELS, "ssl"}
    if wrong:
        raise ValueError(f"there is no option {min(wrong)}")
    user, _, password = userinfo.partition(":")
    given = zip(_LOGIN, (unquote(user), unquote(password)), strict=True)
    login: dict[str, str | int] = {name: value for name, value in given if value}
    if len(names) == 2 and names[1]:
        login["db"] = _number(names[1])
    encrypted = _truth(options.pop("ssl", "true" if set(options) & set(_TLS) else "false"))
    of_sentinels = {_OF_SENTINELS[k]: v for k, v in options.items() if k in _OF_SENTINELS}
    return BrokerAddress(
        text,
        login,
        _tls(_SECURE | options) if encrypted else None,
        Sentinels(hosts, names[0], of_sentinels),
    )


def _place(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("the name of a host is missing")
    try:
        return parts.hostname, parts.port or SENTINEL_PORT
    except ValueError:
        raise ValueError(f"the port of {parts.hostname} is no number") from None


def _tls(options: Mapping[str, str]) -> dict[str, str | bool]:
    tls: dict[str, str | bool] = {k: v for k, v in options.items() if k in _TLS}
    tls["ssl_check_hostname"] = _truth(options["ssl_check_hostname"])
    if options["ssl_cert_reqs"] == "none":
        tls["ssl_check_hostname"] = False
    return tls


def _number(text: str) -> int:
    if not text.isdecimal():
        raise ValueError("the database is no number")
    return int(text)


def _truth(text: str) -> bool:
    if text.lower() not in {"true", "false", "yes", "no", "1", "0"}:
        raise ValueError("expected true or false for an option")
    return text.lower() in {"true", "yes", "1"}
