"""Middleware that refuses foreign hosts, large requests, and requests beyond the queue."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mutualformer_sod.serving.access import refusal
from mutualformer_sod.serving.jobs import Jobs

_FILES = 3  # maximum number of files in a request: picture, depth, background
_FORM_BYTES = 10**5  # maximum size of a body without its files, in bytes

_HOST_REMEDY = "use the printed address, or start the server with --allow-host NAME"


@dataclass(frozen=True)
class Limits:
    """Limits of a request."""

    file_bytes: int  # maximum size of one file in bytes
    seconds: float  # time limit of each step: upload, computation, and transfer of the answer

    @property
    def body_bytes(self) -> int:
        """Maximum size of the body of a request in bytes."""
        return _FILES * self.file_bytes + _FORM_BYTES


class Gate:
    """ASGI middleware that refuses a request before its body is read, or passes the request on.

    A request that may have a body occupies a place of ``jobs`` until the answer is sent.
    """

    def __init__(
        self, app: ASGIApp, jobs: Jobs, limits: Limits, host: str, others: Collection[str]
    ) -> None:
        self._app, self._jobs, self._limits = app, jobs, limits
        self._host, self._others = host, others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif problem := refusal(scope["headers"], self._host, self._others, _HOST_REMEDY):
            await error_answer(403, problem)(scope, receive, send)
        elif scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
        elif _promised_bytes(scope) > self._limits.body_bytes:
            await error_answer(413, self._too_many_bytes())(scope, receive, send)
        elif not self._jobs.enter():
            line = "all places of the queue are occupied. Fix: try again later."
            again = {"Retry-After": str(self._jobs.retry_seconds)}
            await error_answer(503, line, again)(scope, receive, send)
        else:
            try:
                await self._app(scope, self._limited(receive), self._in_time(send))
            finally:
                self._jobs.leave()

    def _limited(self, receive: Receive) -> Receive:
        """Return ``receive`` with the limits of bytes and time."""
        loop = asyncio.get_running_loop()
        end, left, is_whole = loop.time() + self._limits.seconds, self._limits.body_bytes, False

        async def limited() -> Message:
            nonlocal left, is_whole
            if is_whole:  # the next message is the end of the connection
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), end - loop.time())
            except asyncio.TimeoutError:
                seconds = f"{self._limits.seconds:g} s"
                line = f"the upload took more than {seconds}. Fix: send a smaller file."
                raise HTTPException(408, line, {"Connection": "close"}) from None
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413, self._too_many_bytes(), {"Connection": "close"})
            is_whole = not message.get("more_body", False)
            return message

        return limited

    def _in_time(self, send: Send) -> Send:
        """Return ``send`` with a time limit, because a client may not read its answer."""
        loop = asyncio.get_running_loop()
        end, is_late = None, False

        async def limited(message: Message) -> None:
            nonlocal end, is_late
            if is_late:  # the server closes a connection with an incomplete answer
                return
            end = end or loop.time() + self._limits.seconds
            try:
                await asyncio.wait_for(send(message), end - loop.time())
            except asyncio.TimeoutError:
                is_late = True

        return limited

    def _too_many_bytes(self) -> str:
        problem = f"a file may have at most {self._limits.file_bytes / 1e6:g} MB"
        return f"the request is too large: {problem}. Fix: send smaller files."


def error_answer(status: int, line: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return the JSON answer to a failed request, with the problem and the fix."""
    return JSONResponse({"error": line}, status, headers)


def _promised_bytes(scope: Scope) -> int:
    length = next((v for name, v in scope["headers"] if name == b"content-length"), b"")
    return int(length) if length.isdigit() else 0
