"""Check requests: the host, the inputs of the page, the size of uploaded files by their headers.

Without the check of the host any web page could use a demo on its reader's machine, by the address
or by a name that leads there (DNS rebinding).
"""

import ipaddress
import math
import reprlib
import socket
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from numpy.lib import format as npy
from PIL import Image, UnidentifiedImageError

from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging.containers import TIFF
from mutualformer_sod.imaging.decoding import read_bytes
from mutualformer_sod.imaging.io import image_size

_HOST_FIX = "Fix: open the printed address, or start the demo with the --host of this address."
NAMES = ("picture", "depth", "weights", "threshold", "invert")


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
            return f"Host {value!r} is refused: this demo was started for {host}. {_HOST_FIX}"
    for value in found[b"origin"]:
        if not is_own(_name_in(value), host):
            return f"Origin {value!r} is refused: it is a page of another host. {_HOST_FIX}"
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


def check_inputs(inputs: Sequence[Any], weights: Sequence[str]) -> None:
    """Raise InputError for inputs of a wrong number, type or range.

    Args:
        inputs: decoded JSON in the order of `NAMES`.
        weights: names to choose from.
    """
    if len(inputs) != len(NAMES):
        raise InputError(
            f"{len(inputs)} inputs are given. Fix: pass {len(NAMES)}: {', '.join(NAMES)}."
        )
    picture, depth, name, threshold, invert = inputs
    is_number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
    upload = "upload the file and pass the answer of the upload, or null"
    usable = (
        (_is_file_or_none(picture), upload),
        (_is_file_or_none(depth), upload),
        (name in weights, f"pass one of {', '.join(weights)}"),
        (is_number and 0 <= threshold <= 1, "pass a number from 0 to 1"),
        (isinstance(invert, bool), "pass true or false"),
    )
    for label, value, (is_usable, remedy) in zip(NAMES, inputs, usable, strict=True):
        if not is_usable:
            raise InputError(f"{label} {reprlib.repr(value)} is not usable. Fix: {remedy}.")


def check_pixels(path: Path, most: int) -> None:
    """Raise InputError for an image or ``.npy`` array with too many pixels, without decoding it.

    A file with an unknown header passes, unless it may be large: its reader reports the problem.
    """
    size = _npy_size(path) if path.suffix.lower() == ".npy" else _image_size(path)
    height, width = size or (0, 0)
    if height * width > most:
        raise InputError(
            f"{path}: {width} x {height} pixels, more than {most / 1e6:g} megapixels. "
            "Fix: save a smaller copy."
        )


def _npy_size(path: Path) -> tuple[int, int] | None:
    """Return (H, W), where W is the product of all other axes; None for no array."""
    try:
        with path.open("rb") as file:
            version = npy.read_magic(file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape = read(file)[0]
    except Exception:  # the header is parsed as Python, which may end in any error
        return None
    return (shape[0], math.prod(shape[1:])) if len(shape) >= 2 else None


def _image_size(path: Path) -> tuple[int, int] | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own limit, and unusual metadata
            with Image.open(path) as image:
                return image.height, image.width
    except Image.DecompressionBombError:
        raise InputError(f"{path}: too many pixels. Fix: save a smaller copy.") from None
    except UnidentifiedImageError:
        # Other decoders read more kinds of TIFF and have no limit of their own.
        if read_bytes(path).startswith(TIFF):
            raise InputError(f"{path}: unsupported TIFF. Fix: save it as PNG or .npy.") from None
    except Exception:  # a damaged header or metadata
        pass
    try:
        return image_size(path)
    except InputError:
        return None


def _is_file_or_none(value: Any) -> bool:
    if value is None:
        return True
    path = value.get("path") if isinstance(value, dict) else None
    return isinstance(path, str) and path != "" and "\0" not in path


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
