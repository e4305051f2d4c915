"""Start a server of ``tools/`` in its own process for tests; make files to upload."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tool_runs import ROOT

from mutualformer_sod.data.synthetic.scenes import make_scene

WEIGHTS = "tiny"
MOST_MEGABYTES = 2


@dataclass
class Server:
    """A running server.

    Attributes:
        process: of the server.
        address: that it printed.
        lines: its output, with standard error.
    """

    process: subprocess.Popen
    address: str = ""
    lines: list[str] = field(default_factory=list)

    def resident_mb(self) -> float:
        """Resident memory, megabytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1000

    def interrupt(self) -> int:
        """End it as Ctrl-C does; its status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(120)


def start_demo(folder: Path, *flags: object) -> Server:
    """Start a demo with its temporary files in ``folder``; wait for its address."""
    pytest.importorskip("gradio", reason="the extra demo is not installed")
    return _start("demo", folder, flags)


def start_service(folder: Path, *flags: object) -> Server:
    """Start a service with its temporary files in ``folder``; wait for its address."""
    pytest.importorskip("fastapi_offline", reason="the extra serve is not installed")
    server = _start("serve", folder, flags)
    server.address = server.address.removesuffix("/docs")
    return server


def _start(tool: str, folder: Path, flags: tuple[object, ...]) -> Server:
    # A dead proxy: the server must need neither a proxy nor a network.
    away = "http://127.0.0.1:9"
    environment = os.environ | {"TMPDIR": str(folder), "http_proxy": away, "https_proxy": away}
    command = [sys.executable, str(ROOT / "tools" / f"{tool}.py"), "--port", "0"]
    # Weights that are small and fast; flags below override them.
    command += ["--device", "cpu", "--weights", "tiny"]
    process = subprocess.Popen(
        [*command, *map(str, flags)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=folder,
    )
    server = Server(process)
    for line in process.stdout:
        server.lines.append(line)
        if "Ctrl-C ends the" in line:
            server.address = line.split()[0]
            break
    assert server.address, "".join(server.lines)
    threading.Thread(target=lambda: server.lines.extend(process.stdout), daemon=True).start()
    return server


@pytest.fixture(scope="session")
def demo_server(tmp_path_factory) -> Iterator[Server]:
    """A demo of the shipped weights with limits that a test can reach."""
    flags = ("--max-megapixels", 1, "--max-upload", MOST_MEGABYTES, "--queue", 12)
    server = start_demo(tmp_path_factory.mktemp("demo"), *flags)
    yield server
    server.process.kill()
    server.process.wait()


@dataclass(frozen=True)
class Upload:
    """Files for one request, and whether a map is due."""

    rgb: Path
    depth: Path | None
    good: bool


def make_uploads(folder: Path) -> dict[str, Upload]:
    """Files of many kinds, good and bad, by name."""
    scene = make_scene(3, 2)
    picture = Image.fromarray(scene.rgb)
    files = {name: folder / name for name in ("rgb.png", "rgb.jpg", "cmyk.jpg", "palette.png")}
    picture.save(files["rgb.png"])
    exif = Image.Exif()
    exif[0x112] = 8
    picture.save(files["rgb.jpg"], exif=exif)
    picture.convert("CMYK").save(files["cmyk.jpg"])
    picture.quantize(64).save(files["palette.png"])
    whole = files["rgb.png"].read_bytes()
    size = (30_000).to_bytes(4, "big")
    for name, data in {
        "text.png": b"this is no picture\n",
        "nothing.png": b"",
        "half.png": whole[: len(whole) // 2],
        "huge.png": whole[:16] + size + size + whole[24:],
        "half.jpg": files["rgb.jpg"].read_bytes()[:2000],
        "noise.npy": whole[:3000],
    }.items():
        (folder / name).write_bytes(data)
    depths = {
        "d8.png": scene.depth,
        "d16.png": scene.depth.astype(np.uint16) * 257,
        "square.png": scene.depth[:200, :200],
    }
    for name, depth in depths.items():
        Image.fromarray(depth).save(folder / name)
    metres = 1 + (255 - scene.depth) / np.float32(100)
    np.save(folder / "metres.npy", metres)
    np.save(folder / "nan.npy", np.full_like(metres, np.nan))
    good = [(name, None) for name in files]
    good += [("rgb.png", name) for name in (*depths, "metres.npy", "nan.npy")]
    bad = [(name, None) for name in ("text.png", "nothing.png", "half.png", "huge.png", "half.jpg")]
    bad += [("rgb.png", name) for name in ("text.png", "nothing.png", "huge.png", "noise.npy")]
    return {
        f"{rgb} {depth}": Upload(folder / rgb, depth and folder / depth, (rgb, depth) in good)
        for rgb, depth in good + bad
    }
