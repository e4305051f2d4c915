"""A client of the service: multipart forms by the standard library, with any file name."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Answer(NamedTuple):
    """Status, headers (names in lower case) and body of an answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> str:
        """The line of a failed request."""
        assert self.headers["content-type"] == "application/json", self.body
        return json.loads(self.body)["error"]


def form(fields: Sequence[tuple[str, object]]) -> tuple[bytes, str]:
    """Encode a form; a Path or (name, bytes) is sent as a file. Return body and content type."""
    boundary = uuid.uuid4().hex
    parts = []
    for name, value in fields:
        head, data = f'Content-Disposition: form-data; name="{name}"', str(value).encode()
        if isinstance(value, Path):
            value = value.name, value.read_bytes()
        if isinstance(value, tuple):
            file, data = value
            head += f'; filename="{file}"'
        parts.append(f"--{boundary}\r\n{head}\r\n\r\n".encode() + data + b"\r\n")
    return b"".join(
        parts
    ) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def post(address: str, *fields: tuple[str, object], **headers: str) -> Answer:
    """Post a form."""
    body, kind = form(fields)
    return request(address, body, {"Content-Type": kind, **headers})


def request(address: str, body: object = None, headers: dict[str, str] | None = None) -> Answer:
    """Send a request without any proxy; GET without a body."""
    asked = urllib.request.Request(address, body, headers or {})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(asked, timeout=120) as answer:
            found = answer.status, answer.headers.items(), answer.read()
    except urllib.error.HTTPError as error:
        found = error.code, error.headers.items(), error.read()
    return Answer(found[0], {name.lower(): value for name, value in found[1]}, found[2])
