"""Types and checks of the service's form fields, and the storage of uploaded files."""

import functools
import re
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import File, Form, Request, UploadFile

from mutualformer_sod.errors import InputError, one_line
from mutualformer_sod.inference.overlays import PLAIN, is_plain
from mutualformer_sod.serving.pictures import TooLarge

_NAME_LENGTH = 80
# json_schema_extra shows a button for a file on the documentation page.
_file_field = functools.partial(File, json_schema_extra={"format": "binary"})

Rgb = Annotated[
    UploadFile, _file_field(description="The picture: JPEG, PNG, BMP, TIFF, WebP, GIF or PPM.")
]
Depth = Annotated[
    UploadFile,
    _file_field(
        description="Depth map of the picture: PNG or TIFF of 8 or 16 bits, or .npy. Optional."
    ),
]
Near = Annotated[
    Literal["auto", "white", "black", "disparity", "strict"],
    Form(
        description="Polarity of the depth map. white: large values are near the camera; black: "
        "small values are near; disparity: large values are near, and 0 means no value; auto: the "
        "map and its type, such as millimetres, decide; strict: like auto, but a weak or "
        "contradictory decision is refused."
    ),
]
Orientation = Annotated[
    Literal["auto", "stored", "shown"],
    Form(
        alias="depth-orientation",
        description="Orientation of the depth map if the picture has an orientation tag. stored: "
        "that of the stored picture; shown: that of the picture as shown; auto: shown if the "
        "aspect ratio of the map matches the shown picture better than the stored picture, else "
        "stored.",
    ),
]
Background = Annotated[
    str | UploadFile | None,
    File(description=f"Background: {PLAIN}, or a picture. Transparent if omitted."),
]
Crop = Annotated[bool, Form(description="Crop the cut-out to the object.")]


async def refuse_ignored(request: Request) -> None:
    """Raise InputError for fields that would be ignored, as a dependency of an endpoint.

    Ignored fields are fields that the endpoint lacks, repeated fields, and query parameters.
    """
    known = [field.alias for field in request.scope["route"].dependant.body_params]
    given = Counter(name for name, _ in (await request.form()).multi_items())
    for name in request.query_params:
        problem = f"{name[:_NAME_LENGTH]}: is a query parameter"
        raise InputError(f"{problem}. Fix: send it as a form field.")
    for name, count in given.items():
        if name not in known:
            remedy = f"send {', '.join(known)}"
            raise InputError(f"{name[:_NAME_LENGTH]}: unknown field. Fix: {remedy}.")
        if count > 1:
            raise InputError(f"{name}: sent {count} times. Fix: send the field once.")


def check_effects(depth: UploadFile | None, near: str, orientation: str) -> None:
    """Raise InputError for options of a depth map that is not sent."""
    for field, value in (("near", near), ("depth-orientation", orientation)):
        if depth is None and value != "auto":
            raise InputError(f"{field}: has no effect without depth. Fix: send depth, too.")


def check_background(background: UploadFile | str | None) -> str | None:
    """Return the background for `CutoutStyle`; refuse text that may name a file of the server."""
    if background is None:
        return None
    if not isinstance(background, str):  # an upload has Starlette's class here, not FastAPI's
        return name_of(background)
    if not is_plain(background):
        problem = f"background {background[:_NAME_LENGTH]}: unknown"
        raise InputError(f"{problem}. Fix: send {PLAIN}, or a picture as a file.")
    return background


def name_of(upload: UploadFile) -> str:
    """Return the file name that the client sent, in one line and without folders."""
    name = re.split(r"[/\\]", upload.filename or "")[-1]
    name = "".join(sign if sign.isprintable() else " " for sign in name)
    return one_line(name)[-_NAME_LENGTH:] or "file"


def save(
    uploads: Mapping[str, UploadFile | None], folder: Path, most_bytes: int
) -> dict[str, Path]:
    """Write uploaded files to a folder as FIELD.SUFFIX, and return the path of each field.

    Raises:
        TooLarge: a file has more than ``most_bytes`` bytes.
    """
    paths = {}
    for field, upload in uploads.items():
        if upload is None:
            continue
        if (upload.size or 0) > most_bytes:
            sizes = f"has {upload.size / 1e6:.1f} MB, more than {most_bytes / 1e6:g} MB"
            raise TooLarge(f"{name_of(upload)}: {sizes}. Fix: send a smaller file.")
        suffix = re.search(r"\.[A-Za-z0-9]{1,8}$", upload.filename or "")
        paths[field] = folder / f"{field}{suffix[0] if suffix else ''}"
        with paths[field].open("wb") as file:
            shutil.copyfileobj(upload.file, file)
    return paths


def line_of(error: dict[str, Any]) -> str:
    """Describe, in one line, an error that FastAPI found in a form."""
    field = str(error["loc"][-1])
    value = str(error.get("input"))[:_NAME_LENGTH]
    example = f"Fix: send a file in multipart/form-data (curl: -F {field}=@FILE)."
    if error["type"] == "missing":
        return f"{field}: is missing. {example}"
    if error["type"] == "literal_error":
        return f"{field} {value}: unknown. Fix: send {error['ctx']['expected']}."
    if error["type"].startswith("bool"):
        return f"{field} {value}: neither true nor false. Fix: send true or false."
    if isinstance(error.get("input"), str):
        return f"{field}: is text instead of a file. {example}"
    return f"{field}: {error['msg']}"
