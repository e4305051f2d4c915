"""Refuse requests from foreign hosts and web pages.

Otherwise any web page could use a demo on its reader's machine, by the address or by a name that
leads there (DNS rebinding).
"""

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

_FIX = "Fix: open the printed address, or start the demo with the --host of this address."


def refusal(headers: Iterable[tuple[bytes, bytes]], host: str) -> str | None:
    """Return the reason to refuse a request, or None to accept it.

    Args:
        headers: of the request, names in lower case.
        host: on which the demo listens.
    """
    found: dict[bytes, list[str]] = {b"host": [], b"origin": []}
    for name, value in headers:
        if name in found:
            found[name].append(value.decode("latin-1"))
    for value in found[b"host"] or [""]:
        if not is_own(_name_in(f"//{value}"), host):
            return f"Host {value!r} is refused: this demo was started for {host}. {_FIX}"
    for value in found[b"origin"]:
        if not is_own(_name_in(value), host):
            return f"Origin {value!r} is refused: it is a page of another host. {_FIX}"
    return None


def is_own(name: str | None, host: str) -> bool:
    """Return whether a name or address belongs to the demo.

    Loopback names and addresses do, and ``host``. For 0.0.0.0 and :: all addresses do, because only
    names can be redirected, and the names of this machine.
    """
    if not name:
        return False
    address = _address(name)
    if name in (host.casefold(), "localhost") or (address is not None and address.is_loopback):
        return True
    if host not in ("0.0.0.0", "::"):
        return False
    own = socket.gethostname(), socket.getfqdn(), f"{socket.gethostname()}.local"
    return address is not None or name in map(str.casefold, own)


def _name_in(address: str) -> str | None:
    try:
        return urlsplit(address).hostname  # in lower case, without port and brackets
    except ValueError:
        return None


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
