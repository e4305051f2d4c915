"""The demo page and its server.

Call `scratch.prepare_gradio` before importing this module.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from mutualformer_sod.demo.samples import Sample
from mutualformer_sod.demo.service import Request, Service, check_inputs
from mutualformer_sod.errors import InputError
from mutualformer_sod.serving.access import refusal

_ABOUT = """# Salient object detection from colour and depth
Drop a picture, and its depth map if there is one. Salient objects are white in the map."""
# No font, script or picture from other hosts: the page works without internet access.
_FONTS = ("ui-sans-serif", "system-ui", "sans-serif")
_MONO = ("ui-monospace", "monospace")
_CALLS = ("/gradio_api/call/", "/gradio_api/queue/", "/gradio_api/run/", "/gradio_api/api/")

_log = logging.getLogger(__name__)


class _Gate:
    """ASGI middleware that refuses foreign hosts (status 403) and unknown functions (400)."""

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app, self._host = app, host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_request = scope["type"] in ("http", "websocket")
        if is_request and (problem := refusal(scope["headers"], self._host)):
            is_socket = scope["type"] == "websocket"
            answer = WebSocketClose(1008, problem) if is_socket else PlainTextResponse(problem, 403)
            await answer(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        except Exception as error:  # gradio raises an error for an unknown function
            if not any(part in scope.get("path", "") for part in _CALLS):
                raise
            _log.error("%s: %s: %s", scope["path"], type(error).__name__, error)
            answer = PlainTextResponse("unknown call. Fix: call the function /map.", 400)
            await answer(scope, receive, send)


class _Page(gr.Blocks):
    """The page, which answers wrong inputs with one line instead of a traceback."""

    def __init__(self, weights: Sequence[str]) -> None:
        super().__init__(title="mutualformer_sod", analytics_enabled=False)
        self._weights = weights

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *rest: Any, **more: Any):
        """Check the inputs before gradio does, because programs may send wrong inputs."""
        try:
            if block_fn.inputs:
                check_inputs(inputs, self._weights)
            return await super().preprocess_data(block_fn, inputs, *rest, **more)
        except InputError as error:
            problem = str(error)
        except Exception:
            problem = "the files were not uploaded to this page. Fix: upload the files first."
        raise gr.Error(problem, print_exception=False)


def build_page(service: Service, samples: Sequence[Sample]) -> gr.Blocks:
    """Build the page of a service, with samples to click on."""

    def map_picture(
        rgb: str | None, depth: str | None, weights: str, threshold: float, invert: bool
    ) -> tuple:
        paths = [Path(path) if path else None for path in (rgb, depth)]
        message, *results = service.answer(Request(*paths, weights, threshold, invert))
        pictures = [path and str(path) for path in results]
        download = gr.DownloadButton(value=pictures[0], interactive=pictures[0] is not None)
        return message, *pictures, download

    def show_sample(chosen: gr.SelectData) -> tuple[str, str]:
        sample = samples[chosen.index]
        return str(sample.rgb), str(sample.depth)

    names = list(service.predictors)
    with _Page(names) as page:
        gr.Markdown(_ABOUT)
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                rgb, depth, weights, threshold, invert = inputs = _inputs(names)
                gr.Markdown(
                    "Click on a generated sample. The title is the modality that shows the object."
                )
                gallery = gr.Gallery(
                    [(sample.thumbnail, sample.title) for sample in samples],
                    show_label=False,
                    columns=3,
                    height=280,
                    object_fit="contain",
                    allow_preview=False,
                    interactive=False,
                    buttons=[],
                    elem_id="samples",
                )
                button = gr.Button("Predict again", elem_id="again")
            with gr.Column(scale=2, min_width=300):
                outputs = _outputs()
        job = {
            "fn": map_picture,
            "inputs": inputs,
            "outputs": outputs,
            "concurrency_id": "network",
            "show_progress_on": [outputs[1]],
        }
        changes = [rgb.upload, rgb.clear, depth.upload, depth.clear]
        changes += [weights.input, threshold.release, invert.input, button.click]
        gr.on(changes, api_name="map", trigger_mode="always_last", **job)
        private = {"api_visibility": "private"}
        picked = gallery.select(show_sample, None, [rgb, depth], queue=False, **private)
        picked.then(**private, **job)
    return page


def serve(page: gr.Blocks, host: str, port: int, *, upload_bytes: int, queue: int) -> str:
    """Start the server in the background, and return its address.

    Up to ``queue`` requests wait; further requests are refused with a message.
    """
    page.queue(max_size=queue, default_concurrency_limit=1, api_open=False)
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        share=False,
        prevent_thread_lock=True,
        quiet=True,
        max_file_size=upload_bytes,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        footer_links=[],
        app_kwargs={"middleware": [Middleware(_Gate, host=host)]},
        theme=gr.themes.Default(font=_FONTS, font_mono=_MONO),
    )
    return address


def _inputs(weights: list[str]) -> list[gr.Component]:
    return [
        gr.File(label="Picture", elem_id="rgb", height=120),
        gr.File(label="Depth (optional): PNG, TIFF, .npy", elem_id="depth", height=120),
        gr.Dropdown(weights, value=weights[0], label="Weights", elem_id="weights"),
        gr.Slider(0, 1, 0, step=0.01, label="Threshold (0: the map as it is)", elem_id="threshold"),
        gr.Checkbox(label="Invert the depth", elem_id="invert"),
    ]


def _outputs() -> list[gr.Component]:
    message = gr.Textbox(label="Message", lines=3, interactive=False, elem_id="message")
    options = {"type": "filepath", "interactive": False, "height": 300}
    options["buttons"] = ["download", "fullscreen"]
    shown = []
    for pair in (("Map", "Overlay"), ("Cut-out", "Depth input of the network: near = white")):
        with gr.Row():
            for label in pair:
                name = label.split()[0].lower().replace("-", "")
                shown.append(gr.Image(label=label, elem_id=f"{name}_shown", **options))
    download = gr.DownloadButton("Download the map (PNG)", elem_id="download", interactive=False)
    return [message, *shown, download]
