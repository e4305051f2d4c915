"""The HTTP service, which answers a picture with a map, an overlay or a cut-out."""

import asyncio
import contextlib
import functools
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response, StreamingResponse
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

import mutualformer_sod
from mutualformer_sod.errors import InputError, one_line
from mutualformer_sod.inference.overlays import CUTOUTS
from mutualformer_sod.serving import forms
from mutualformer_sod.serving.gate import Gate, Limits, error_answer
from mutualformer_sod.serving.jobs import ClientGone, Jobs
from mutualformer_sod.serving.pictures import Asked, PictureService, problem_of, with_fields

_ABOUT = """Salient object detection from colour and depth. Send a picture, and its depth map if
there is one, as multipart/form-data. The answer is the PNG file that
`mutualformer-sod predict` writes. The header `X-Notes` has remarks, such as the decision on the
depth. The answer to a failed request is JSON: `{"error": "PROBLEM: cause. Fix: action."}`."""
_ERRORS = {
    400: "The body is not a form.",
    403: "The Host or Origin header names another host.",
    408: "The upload took too long.",
    413: "A file has too many bytes or pixels.",
    422: "A file or a field is not usable, or the polarity of the depth is uncertain.",
    500: "A defect of the service.",
    503: "All places of the queue are occupied; the header Retry-After has a time in seconds.",
    504: "The request was not finished within the time limit.",
}
_CHUNK = 1 << 16


def build_app(
    service: PictureService,
    limits: Limits,
    *,
    waiting: int,
    host: str,
    others: Collection[str],
    about: dict[str, Any],
) -> FastAPI:
    """Build the HTTP application, in which up to ``waiting`` requests may wait.

    ``host`` and ``others`` are arguments of `access.refusal`. The endpoint ``/health`` also reports
    ``about``, for example the name of the weights.
    """
    jobs = Jobs(waiting)

    @contextlib.asynccontextmanager
    async def closing(_: FastAPI) -> AsyncIterator[None]:
        yield
        jobs.close()

    app = FastAPIOffline(
        title="mutualformer_sod",
        version=mutualformer_sod.__version__,
        description=_ABOUT,
        redoc_url=None,
        lifespan=closing,
    )
    app.add_middleware(Gate, jobs=jobs, limits=limits, host=host, others=others)
    _add_error_answers(app)

    @app.get("/health", summary="Report that the service runs, and how busy it is")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "busy": jobs.taken, "places": 1 + waiting, **about}

    _add_outputs(app, functools.partial(_answer, service, jobs, limits))
    return app


async def _answer(
    service: PictureService,
    jobs: Jobs,
    limits: Limits,
    request: Request,
    uploads: dict[str, UploadFile | None],
    **options: Any,
) -> Response:
    """Answer a request; ``uploads`` and ``options`` are attributes of `Asked`, files and others."""
    folder = Path(tempfile.mkdtemp(prefix="mutualformer_serve_"))
    clean = functools.partial(shutil.rmtree, folder, ignore_errors=True)
    names: dict[Path, str] = {}
    try:
        try:
            files = await asyncio.to_thread(forms.save, uploads, folder, limits.file_bytes)
        except BaseException:
            clean()
            raise
        names = {path: forms.name_of(uploads[field]) for field, path in files.items()}
        job = functools.partial(service.answer, Asked(**files, **options), folder)
        result = await jobs.run(job, limits.seconds, _gone(request), clean)
    except asyncio.TimeoutError:
        line = f"no result within {limits.seconds:g} s. Fix: try again later or with less data."
        return error_answer(504, line)
    except ClientGone:
        return error_answer(400, "the client has gone")
    except Exception as error:
        line, status = problem_of(error, names)
        return error_answer(status, with_fields(line))
    headers = {"Content-Length": str(len(result.png))}
    if result.notes:  # a header is one line of ASCII
        line = one_line("; ".join(result.notes)).encode("ascii", "backslashreplace")
        headers["X-Notes"] = line.decode()[:4000]
    return StreamingResponse(_chunks(result.png), media_type="image/png", headers=headers)


def _add_outputs(app: FastAPI, answer_with: Callable[..., Awaitable[Response]]) -> None:
    """Add the endpoints ``/map``, ``/overlay`` and ``/cutout`` to the application."""
    errors = {status: {"description": text} for status, text in _ERRORS.items()}
    png = {200: {"content": {"image/png": {}}, "description": "The picture as PNG."}}
    route = {"response_class": Response, "responses": png | errors}
    route["dependencies"] = [Depends(forms.refuse_ignored)]

    def add(name: str, about: str) -> None:
        @app.post(f"/{name}", name=name, summary=about, **route)
        async def answer(
            request: Request,
            rgb: forms.Rgb,
            depth: forms.Depth = None,
            near: forms.Near = "auto",
            orientation: forms.Orientation = "auto",
        ) -> Response:
            forms.check_effects(depth, near, orientation)
            options = {"kind": f"{name}s", "near": near, "orientation": orientation}
            return await answer_with(request, {"rgb": rgb, "depth": depth}, **options)

    add("map", "Map of the salient object, 8-bit grey")
    add("overlay", "Map over the picture, RGB")

    @app.post("/cutout", summary="Object alone, RGBA; RGB with a background", **route)
    async def cutout(
        request: Request,
        rgb: forms.Rgb,
        depth: forms.Depth = None,
        near: forms.Near = "auto",
        orientation: forms.Orientation = "auto",
        background: forms.Background = None,
        crop: forms.Crop = False,
    ) -> Response:
        forms.check_effects(depth, near, orientation)
        shown = forms.check_background(background)
        file = None if isinstance(background, str) else background
        uploads = {"rgb": rgb, "depth": depth, "background_file": file}
        options = {"near": near, "orientation": orientation, "background": shown, "crop": crop}
        return await answer_with(request, uploads, kind=CUTOUTS, **options)


def _add_error_answers(app: FastAPI) -> None:
    """Make the application answer every error with one line in JSON."""

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        lines = {
            404: f"{request.url.path}: no such endpoint. Fix: see /docs.",
            405: f"{request.method} {request.url.path}: is not allowed. Fix: see /docs.",
            400: f"{error.detail} Fix: send multipart/form-data.",
        }
        line = lines.get(error.status_code, str(error.detail))
        return error_answer(error.status_code, line, dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def unusable(request: Request, error: RequestValidationError) -> Response:
        return error_answer(422, " | ".join(map(forms.line_of, error.errors())))

    @app.exception_handler(InputError)
    async def unfit(request: Request, error: InputError) -> Response:
        return error_answer(422, str(error))

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:  # the server logs the error
        return error_answer(500, "a defect of this server. Fix: see the terminal of this server.")


async def _gone(request: Request) -> None:
    """Return when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    """Yield the data in pieces, so that the server waits for a slow client and buffers little."""
    for start in range(0, len(data), _CHUNK):
        yield data[start : start + _CHUNK]
