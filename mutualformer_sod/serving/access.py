"""The address of a server, and the hosts that requests may name.

Without a check of the host, any web page could send requests to a server on the machine of the
page's reader, by the server's address or a name that resolves to this address (DNS rebinding).
"""

import errno
import functools
import ipaddress
import socket
from collections.abc import Collection, Iterable
from urllib.parse import urlsplit

from mutualformer_sod.errors import InputError

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # all interfaces -> the local address
_HOST_REMEDY = "open the printed address, or start the server with the refused host as --host"


def refusal(
    headers: Iterable[tuple[bytes, bytes]],
    host: str,
    others: Collection[str] = (),
    remedy: str = _HOST_REMEDY,
) -> str | None:
    """Return the reason to refuse a request, or None to accept it.

    The names of the ``headers`` are in lower case. The server listens on ``host``; ``others`` are
    further names that lead to it, such as that of a proxy. The reason ends in ``remedy``.
    """
    found: dict[bytes, list[str]] = {b"host": [], b"origin": []}
    for name, value in headers:
        if name in found:
            found[name].append(value.decode("latin-1"))
    for value in found[b"host"] or [""]:
        if not is_own(_name_in(f"//{value}"), host, others):
            return f"Host {value!r} is refused: this server was started for {host}. Fix: {remedy}."
    for value in found[b"origin"]:
        if not is_own(_name_in(value), host, others):
            return f"Origin {value!r} is refused: it is a page of another host. Fix: {remedy}."
    return None


def is_own(name: str | None, host: str, others: Collection[str] = ()) -> bool:
    """Return whether a name or address belongs to the server.

    The server has the loopback addresses, ``host`` and ``others``; if ``host`` is 0.0.0.0 or ::,
    also the names of this machine and all IP addresses, because DNS rebinding needs a name.
    """
    if not name:
        return False
    if _is_loopback(name) or name in {host.casefold(), *map(str.casefold, others)}:
        return True
    return host in _EVERYWHERE and (_address(name) is not None or name in _own_names())


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address; port 0 selects any free port.

    The socket listens at once, because two sockets that do not listen can share an address.

    Raises:
        InputError: the port is in use or not allowed, or the host is not an address of the machine.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        problem = f"--host {host}: no such address. Fix: pass 127.0.0.1 or 0.0.0.0."
        raise InputError(problem) from None
    is_dual = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
    try:
        return socket.create_server(address, family=family, dualstack_ipv6=is_dual)
    except OSError as error:
        problem = f"--host {host}: {error.strerror or error}. Fix: pass 127.0.0.1 or 0.0.0.0."
        if isinstance(error, PermissionError):
            problem = f"--port {port}: is not allowed. Fix: pass 1024 or more."
        elif error.errno == errno.EADDRINUSE:
            problem = f"--port {port}: in use. Fix: pass another port, or 0 for any free port."
        raise InputError(problem) from None


def free_port(host: str, port: int) -> int:
    """Return ``port``, or a free port if ``port`` is 0; raise InputError as `bind` does."""
    with bind(host, port) as probe:
        return probe.getsockname()[1]


def address_of(listening: socket.socket, host: str, *, here: bool = False) -> str:
    """Return the URL of the server that listens on a socket of `bind`.

    The URL has the address of the socket, or ``host`` if the server refuses requests with this
    address. With ``here``, the local address replaces 0.0.0.0 and ::, for clients on this machine.
    """
    place, port = listening.getsockname()[:2]
    if here and place in _EVERYWHERE:
        place = _EVERYWHERE[place]
    elif not is_own(place, host):
        place = host
    place = f"[{place}]" if ":" in place else place
    return f"http://{place}:{port}"


def warning_of(host: str) -> str | None:
    """Return a warning for a host that other machines can reach; None for a loopback host."""
    if _is_loopback(host):
        return None
    return f"--host {host}: every machine with access to this machine can use the server"


@functools.cache  # the lookup may take seconds
def _own_names() -> frozenset[str]:
    own = socket.gethostname(), socket.getfqdn(), f"{socket.gethostname()}.local"
    return frozenset(map(str.casefold, own))


def _name_in(address: str) -> str | None:
    try:
        return urlsplit(address).hostname  # in lower case, without port and brackets
    except ValueError:
        return None


def _is_loopback(name: str) -> bool:
    address = _address(name)
    return name == "localhost" or (address is not None and address.is_loopback)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
