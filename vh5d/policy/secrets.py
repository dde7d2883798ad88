"""Passwords in what is shown: the address of a broker may hold one."""

from __future__ import annotations

import re

# user:password@ of a URL (RFC 3986, 3.2.1), the password perhaps not quoted as it should be.
_USERINFO = re.compile(
    r"(?i)\b(redis|rediss|unix|redis\+socket|sentinel)://([^\s:@/]*):[^\s\x22\x27]*@"
)
_PARAMETER = re.compile(
    r"(?i)([?&](?:password|sentinel_password|ssl_keyfile_password|ssl_password)=)[^&\s]+"
)


def without_passwords(text: str) -> str:
    """Return `text` with stars for the passwords of the brokers' addresses in it."""
    if "://" not in text:
        return text
    return _PARAMETER.sub(r"\1***", _USERINFO.sub(r"\1://\2:***@", text))
