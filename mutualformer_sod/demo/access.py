"""Refuse requests from foreign hosts and web pages.

Otherwise any web page could use a demo on its reader's machine, by the address or by a name that
leads there (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

_FIX = "Fix: open the printed address, or start the demo with the --host of this address."

_CALLS = ("/gradio_api/call/", "/gradio_api/queue/", "/gradio_api/run/", "/gradio_api/api/")

_log = logging.getLogger(__name__)

_App = Callable[[dict[str, Any], Callable, Callable], Awaitable[None]]


class Gate:
    """ASGI middleware: status 403 for foreign Host or Origin headers, 400 for unknown functions.

    Args:
        app: answers all other requests.
        host: address or name on which the demo listens, see `is_own`.
    """

    def __init__(self, app: _App, host: str) -> None:
        self._app, self._host = app, host

    async def __call__(self, scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        """Answer one request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
        elif problem := refusal(scope["headers"], self._host):
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008, "reason": problem})
            else:
                await _answer(send, 403, problem)
        elif any(part in scope["path"] for part in _CALLS):
            await self._call(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _call(self, scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        """Answer a call of a function; for an unknown one gradio would only raise an error."""
        begun = False

        async def noting(message: dict[str, Any]) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:
            if begun:
                raise
            _log.error("%s: %s: %s", scope["path"], type(error).__name__, error)
            await _answer(send, 400, "unknown call. Fix: call the function /map.")


async def _answer(send: Callable, status: int, text: str) -> None:
    head = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": text.encode()})


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
    if name == host.casefold() or name == "localhost" or _is_loopback(name):
        return True
    if host not in ("0.0.0.0", "::"):
        return False
    own = socket.gethostname(), socket.getfqdn(), f"{socket.gethostname()}.local"
    return _address(name) is not None or name in map(str.casefold, own)


def _name_in(address: str) -> str | None:
    try:
        return urlsplit(address).hostname  # in lower case, without port and brackets
    except ValueError:
        return None


def _is_loopback(name: str) -> bool:
    address = _address(name)
    return address is not None and address.is_loopback


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
