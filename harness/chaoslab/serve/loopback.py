"""Which addresses the lab may contact: this machine, and hosts that the contract lists.

A test that reaches a real payment service is worse than no test, so an address has to prove that
it stays here, by its spelling alone: nothing is resolved, since a name may resolve otherwise a
moment later. A number is read as the system's resolver reads it; what two readers could take for
two hosts is refused, whichever of them would be right. `localhost` is the only name trusted.

The rule holds for the address that is given. Whoever forwards must also follow no redirect and
use no proxy from the environment (httpx: `follow_redirects=False, trust_env=False`).

>>> check_address("http://127.0.0.1:8080/v1", ())
>>> check_address("https://api.example.com/v1", ("api.example.com",))
>>> check_address("https://api.example.com/v1", ())
Traceback (most recent call last):
...
chaoslab.core.errors.UsageError: the lab contacts nothing beyond this machine unasked: got \
'https://api.example.com/v1' (str); allowed: a loopback address, or a host in `hosts`; next: \
point the service at a local instance, or add hosts = ["api.example.com"] to it
"""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Final
from urllib.parse import urlsplit

from chaoslab.core.errors import UsageError

_PLAIN: Final = re.compile(r"[!-~]+")
_NAME: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_NUMBER: Final = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+)){0,3}")
# 0177.0.0.1 is 127.0.0.1 for one reader and 177.0.0.1 for another.
_TWO_READINGS: Final = re.compile(r"(^|\.)0[0-9]")


def check_address(url: str, hosts: Sequence[str], /) -> None:
    """Returns where the lab may contact `url`: HTTP or HTTPS, on loopback or at one of `hosts`
    (exact host names or addresses). UsageError otherwise."""
    host = _host_of(url)
    listed = {one.strip("[]").lower() for one in hosts}
    if host in listed or is_loopback(host):
        return
    raise UsageError(
        "the lab contacts nothing beyond this machine unasked",
        value=url,
        allowed="a loopback address, or a host in `hosts`",
        hint=f'point the service at a local instance, or add hosts = ["{host}"] to it',
    )


def is_loopback(host: str, /) -> bool:
    """Whether a host, as it stands in an address and in lower case, is this machine for sure.

    >>> [is_loopback(h) for h in ("localhost", "127.1", "::1", "::ffff:127.0.0.1", "0.0.0.0")]
    [True, True, True, True, False]
    """
    if host == "localhost":
        return True
    if ":" in host:
        six = _six(host)
        return six is not None and (six.ipv4_mapped or six).is_loopback
    if not _NUMBER.fullmatch(host) or _TWO_READINGS.search(host):
        return False
    try:
        return IPv4Address(socket.inet_aton(host)).is_loopback
    except OSError:
        return False


def _six(host: str) -> IPv6Address | None:
    """An IPv6 address. None where it is none, or belongs to one interface (`%eth0`)."""
    try:
        return IPv6Address(host) if "%" not in host else None
    except ValueError:
        return None


def _host_of(url: str) -> str:
    """The host of an address that every reader takes for the same one, without brackets."""
    if not _PLAIN.fullmatch(url) or "\\" in url:
        raise _malformed(url, "has blanks, backslashes or signs beyond ASCII")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise _malformed(url, f"cannot be read ({error})") from None
    if parts.scheme not in ("http", "https"):
        raise _malformed(url, "is neither HTTP nor HTTPS")
    if "@" in parts.netloc:
        raise _malformed(url, "has a user name before its host, which may pass for the host")
    if port == 0:
        raise _malformed(url, "has port 0")
    if _six(host) is None and not _NAME.fullmatch(host):
        raise _malformed(url, "has no plain host name")
    return host


def _malformed(url: str, why: str) -> UsageError:
    return UsageError(
        f"the address of a service {why}",
        value=url,
        allowed="http://HOST:PORT/PATH with a plain host",
        hint="write it as http://127.0.0.1:PORT/…",
    )
