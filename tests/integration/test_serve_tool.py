"""tools/serve.py: the bytes of predict, many clients, files of all kinds, end."""

import json
import os
import random
import shlex
import shutil
import signal
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from demo_server import MOST_MEGABYTES, make_uploads, start_service
from form_client import post, request
from PIL import Image
from tool_runs import error_line, run_tool

pytestmark = pytest.mark.usefixtures("shared_predictors")
CLIENTS = 8
REQUESTS = int(os.environ.get("SERVE_REQUESTS", "8"))  # of a client; 200 for docs/service.md
MOST_GROWTH_MB = 60  # after the first half of the requests; a leak of uploads or maps is more


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A service of the shipped weights with limits that a test can reach."""
    flags = ("--max-megapixels", 1, "--max-upload", MOST_MEGABYTES)
    if weights := os.environ.get("SERVE_WEIGHTS"):
        flags += ("--weights", weights)
    server = start_service(tmp_path_factory.mktemp("serve"), *flags)
    yield server
    assert server.interrupt() == 0  # Ctrl-C


@pytest.fixture(scope="module")
def uploads(tmp_path_factory):
    return make_uploads(tmp_path_factory.mktemp("uploads"))


def fields_of(upload):
    return [("rgb", upload.rgb), *([("depth", upload.depth)] if upload.depth else [])]


def test_service_answers_good_and_bad_files_of_many_clients(server, uploads):
    kinds = random.Random(0).choices(list(uploads), k=CLIENTS * REQUESTS)
    memory, answers, lock = {}, [], threading.Lock()
    for kind in uploads:  # the warm-up
        post(f"{server.address}/cutout", *fields_of(uploads[kind]))

    def work(part):
        for kind in part:
            path = random.Random(kind).choice(["map", "overlay", "cutout"])
            answer = post(f"{server.address}/{path}", *fields_of(uploads[kind]))
            with lock:
                answers.append((kind, answer.status, answer.body[:200]))
                if len(answers) in (1, len(kinds) // 2, len(kinds)):
                    memory[len(answers)] = server.resident_mb()

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(work, [kinds[start::CLIENTS] for start in range(CLIENTS)]))
    print(f"resident MB after requests: {memory}")
    assert len(answers) == len(kinds)
    for kind, status, body in answers:
        assert (status == 200) == uploads[kind].good, (kind, status, body)
        assert status in (200, 413, 422)
        if status != 200:
            (key,) = json.loads(body)
            assert key == "error"
    assert server.process.poll() is None
    assert "Traceback" not in "".join(server.lines)
    assert memory[len(kinds)] - memory[1] < MOST_GROWTH_MB


@pytest.fixture(scope="module")
def own(tmp_path_factory, uploads):
    """Files with names beyond ASCII: a turned JPEG, a picture, its depth, a background."""
    folder = tmp_path_factory.mktemp("eigene Bilder 图")
    picture = Image.open(uploads["rgb.png None"].rgb)
    exif = Image.Exif()
    exif[0x112] = 6
    picture.save(folder / "gedreht ü.jpg", exif=exif)
    picture.save(folder / "図.png")
    Image.open(uploads["rgb.png d16.png"].depth).save(folder / "tiefe.png")
    Image.effect_noise((90, 60), 50).convert("RGB").save(folder / "strand.png")
    return folder


@pytest.mark.parametrize(
    ("path", "flags", "fields"),
    [
        ("map", (), {}),
        ("overlay", ("--overlay", "--near", "black"), {"near": "black"}),
        ("cutout", ("--cutout",), {}),
        (
            "cutout",
            ("--cutout", "--background", "#20a0ff", "--crop"),
            {"background": "#20a0ff", "crop": "true"},
        ),
        ("cutout", ("--cutout", "--background", "strand.png"), {"background": Path("strand.png")}),
    ],
)
@pytest.mark.parametrize("name", ["図.png", "gedreht ü.jpg"])
def test_service_answer_has_the_bytes_of_predict(
    server, own, tmp_path, monkeypatch, path, flags, fields, name
):
    monkeypatch.chdir(own)
    given = ("--rgb", name, "--depth", "tiefe.png", "--output", tmp_path, "--weights", "tiny")
    done = run_tool("predict", *given, "--device", "cpu", *flags)
    assert done.status == 0, done.error
    files = ("rgb", Path(name)), ("depth", Path("tiefe.png"))
    answer = post(f"{server.address}/{path}", *files, *fields.items())
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "image/png"
    folder = {"map": "maps", "overlay": "overlays", "cutout": "cutouts"}[path]
    assert answer.body == (tmp_path / folder / f"{Path(name).stem}.png").read_bytes()


def test_service_without_depth_has_the_bytes_of_predict(server, own, tmp_path):
    rgb = own / "図.png"
    given = ("--rgb", rgb, "--output", tmp_path, "--weights", "tiny", "--device", "cpu")
    assert run_tool("predict", *given).status == 0
    answer = post(f"{server.address}/map", ("rgb", rgb))
    assert answer.body == (tmp_path / "maps" / "図.png").read_bytes()


def test_service_names_the_decision_on_depth(server, own):
    answer = post(f"{server.address}/map", ("rgb", own / "図.png"), ("depth", own / "tiefe.png"))
    assert answer.headers["x-notes"].startswith("depth: near = white")


@pytest.mark.parametrize("near", ["auto", "strict"])
def test_service_with_contradicting_depth_asks_for_the_field(server, own, near):
    depth = 1000 + np.asarray(Image.open(own / "tiefe.png")).astype(np.uint16) // 20
    depth[:] = np.sort(depth, axis=0)  # the bottom is far in millimetres
    path = own / "millimetres.png"
    Image.fromarray(depth).save(path)
    fields = ("rgb", own / "図.png"), ("depth", path)
    answer = post(f"{server.address}/map", *fields, ("near", near))
    assert answer.status == 422
    assert "pass near=black if these are distances" in answer.error
    assert post(f"{server.address}/map", *fields, ("near", "black")).status == 200


def test_service_health_has_weights_and_places(server):
    answer = json.loads(request(f"{server.address}/health").body)
    assert (answer["status"], answer["weights"]) == ("ok", "tiny")
    assert (answer["busy"], answer["places"]) == (0, 33)


def test_service_explains_every_choice_of_near(server):
    schema = json.loads(request(f"{server.address}/openapi.json").body)["components"]["schemas"]
    forms = [form["properties"] for form in schema.values() if "rgb" in form["properties"]]
    assert forms
    for fields in forms:
        text = fields["near"]["description"]
        assert all(choice in text for choice in fields["near"]["enum"]), text


def test_service_start_ends_with_a_command_that_maps_a_picture(server, own, tmp_path):
    (line,) = [line for line in server.lines if line.startswith("Next: ")]
    words = shlex.split(line.removeprefix("Next: "))
    assert words[-2:] == ["-o", "map.png"]
    assert f"{server.address}/map" in words
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    shutil.copy(own / "図.png", tmp_path / "photo.jpg")  # known by its content
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / "map.png").size == Image.open(own / "図.png").size


def test_service_page_loads_nothing_from_other_hosts(server):
    page = request(f"{server.address}/docs").body.decode()
    addresses = [word for word in page.replace("'", '"').split('"') if word.startswith("http")]
    assert "swagger-ui-bundle.js" in page
    assert not addresses
    schema = json.loads(request(f"{server.address}/openapi.json").body)
    assert set(schema["paths"]) == {"/map", "/overlay", "/cutout", "/health"}


def test_service_listens_to_this_machine_only_by_default(server):
    port = int(server.address.split(":")[-1])
    listening = [
        line.split()[1]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        if line.split()[3] == "0A" and line.split()[1].endswith(f":{port:04X}")
    ]
    assert listening == [f"0100007F:{port:04X}"]


def test_service_on_sigterm_answers_accepted_requests_and_leaves_no_file(tmp_path, own):
    server = start_service(tmp_path, "--host", "0.0.0.0")
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(post, f"{server.address}/map", ("rgb", own / "図.png")) for _ in "1234"]
        while not json.loads(request(f"{server.address}/health").body)["busy"]:
            assert not all(job.done() for job in jobs)
        server.process.send_signal(signal.SIGTERM)
        answers = [job.result() for job in jobs if not job.exception()]
    assert server.process.wait(120) == 0
    assert answers and all(answer.status == 200 for answer in answers)
    assert not list(tmp_path.iterdir())
    assert "Traceback" not in "".join(server.lines)
    assert "every machine with access" in "".join(server.lines)


def test_service_with_used_port_ends_in_one_line():
    pytest.importorskip("fastapi_offline", reason="the extra serve is not installed")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"--port {port}: in use" in error_line(run_tool("serve", "--port", port))


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--host", "no.such.host.invalid"), "--host"),
        (("--weights", "no/such/file"), "no/such/file"),
        (("--timeout", "0"), "--timeout"),
        (("--timeout", "nan"), "--timeout"),
        (("--max-upload", "-1"), "--max-upload"),
        (("--size", "3"), "--size"),
        (("--device", "tpu"), "--device"),
    ],
)
def test_service_with_wrong_flag_ends_in_one_line(flags, named):
    pytest.importorskip("fastapi_offline", reason="the extra serve is not installed")
    assert named in error_line(run_tool("serve", "--port", "0", "--weights", "tiny", *flags))


def test_service_without_fastapi_names_the_remedy():
    with mock.patch("importlib.util.find_spec", return_value=None):
        assert "pip install -e '.[serve]'" in error_line(run_tool("serve", "--port", "0"))
