"""tools/demo.py: many clients, files of all kinds, limits, end."""

import json
import os
import random
import socket
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest
from demo_server import MOST_MEGABYTES, WEIGHTS, make_uploads, start_demo
from tool_runs import error_line, run_tool

CLIENTS = 8
REQUESTS = int(os.environ.get("DEMO_REQUESTS", "48"))  # 200 for docs/demo.md
MOST_GROWTH_MB = 200  # from the first half of the requests to the second; a leak of maps is more


@pytest.fixture(scope="module")
def uploads(tmp_path_factory):
    return make_uploads(tmp_path_factory.mktemp("uploads"))


@pytest.fixture
def connect(demo_server, tmp_path):
    gradio_client = pytest.importorskip("gradio_client")

    def connect():
        return gradio_client.Client(
            demo_server.address,
            verbose=False,
            download_files=tmp_path,
            analytics_enabled=False,
            httpx_kwargs={"timeout": 300},
        )

    return connect


def ask(client, upload, threshold=0.0, invert=False):
    """Message and files of an answer: (message, map, overlay, cut-out, depth, download)."""
    from gradio_client import handle_file

    files = [path and handle_file(path) for path in (upload.rgb, upload.depth)]
    return client.predict(*files, WEIGHTS, threshold, invert, api_name="/map")


def test_demo_answers_good_and_bad_files_of_many_clients(demo_server, connect, uploads):
    kinds = random.Random(0).choices(list(uploads), k=REQUESTS)
    memory = {}
    lock, done = threading.Lock(), []

    def work(part):
        client = connect()
        for kind in part:
            answer = ask(client, uploads[kind], threshold=len(done) % 3 / 4)
            with lock:
                done.append((kind, answer))
                if len(done) in (REQUESTS // 2, REQUESTS):
                    memory[len(done)] = demo_server.resident_mb()

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(work, [kinds[start::CLIENTS] for start in range(CLIENTS)]))
    print(f"resident MB after requests: {memory}")
    assert len(done) == REQUESTS
    for kind, (message, saliency, *_) in done:
        assert message.startswith("Error: ") != uploads[kind].good, (kind, message)
        assert (saliency is not None) == uploads[kind].good, (kind, message)
    assert demo_server.process.poll() is None
    assert "Traceback" not in "".join(demo_server.lines)
    assert memory[REQUESTS] - memory[REQUESTS // 2] < MOST_GROWTH_MB


def test_demo_keeps_16_bit_depth(connect, uploads):
    client = connect()
    answers = [ask(client, uploads[f"rgb.png {depth}"]) for depth in ("d8.png", "d16.png")]
    maps = [cv2.imread(str(answer[1]), cv2.IMREAD_UNCHANGED).astype(int) for answer in answers]
    assert np.abs(maps[0] - maps[1]).max() <= 1


def test_demo_keeps_metres(connect, uploads):
    answer = ask(connect(), uploads["rgb.png metres.npy"])
    assert "small values are near (metres" in answer[0]


def test_demo_with_full_queue_refuses_requests(connect, uploads):
    from gradio_client import handle_file

    client = connect()
    rgb = handle_file(uploads["rgb.png None"].rgb)
    jobs = [client.submit(rgb, None, WEIGHTS, 0, False, api_name="/map") for _ in range(40)]
    refused = [str(error) for error in (job.exception() for job in jobs) if error]
    assert refused and all("full" in message for message in refused)
    assert ask(client, uploads["rgb.png None"])[1] is not None


def test_demo_refuses_an_upload_above_the_limit(demo_server, tmp_path):
    boundary = "x" * 16
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    body = head.encode() + bytes(MOST_MEGABYTES * 10**6 + 1) + f"\r\n--{boundary}--\r\n".encode()
    request = urllib.request.Request(
        f"{demo_server.address}gradio_api/upload",
        body,
        {"Content-Type": f"multipart/form-data; boundary={boundary}"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=120)
    assert refused.value.code in (400, 413)


def post(address, path, body, **headers):
    """Status and text of an answer to JSON, without any proxy."""
    request = urllib.request.Request(
        address + path,
        body and json.dumps(body).encode(),
        {"Content-Type": "application/json", **headers},
    )
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def call(address, *inputs):
    """What the interface answers to inputs."""
    status, text = post(address, "gradio_api/call/map", {"data": inputs})
    assert status == 200, text
    return post(address, f"gradio_api/call/map/{json.loads(text)['event_id']}", None)[1]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([], "received 0 inputs"),
        (["photo.png", None, WEIGHTS, 0, False], "picture 'photo.png' is not usable"),
        ([{"path": __file__}, None, WEIGHTS, 0, False], "upload the files first"),
        ([None, None, "others", 0, False], f"pass one of {WEIGHTS}"),
        ([None, None, WEIGHTS, "half", False], "threshold 'half' is not usable"),
    ],
)
def test_demo_with_wrong_inputs_names_them_without_traceback(demo_server, inputs, words):
    answer = call(demo_server.address, *inputs)
    assert answer.startswith("event: error")
    assert words in answer
    assert "Traceback" not in "".join(demo_server.lines)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("gradio_api/call/nothing", {"data": []}),
        ("gradio_api/queue/join", {"data": [], "fn_index": 99, "session_hash": "x"}),
    ],
)
def test_demo_call_of_unknown_function_has_a_clear_error(demo_server, path, body):
    assert post(demo_server.address, path, body) == (
        400,
        "unknown call. Fix: call the function /map.",
    )
    assert "Traceback" not in "".join(demo_server.lines)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:7860", "Origin": "http://localhost:7860"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
@pytest.mark.parametrize("path", ["", "gradio_api/call/map"])
def test_demo_refuses_foreign_hosts_and_pages(demo_server, headers, status, path):
    body = {"data": [None, None, WEIGHTS, 0, False]} if path else None
    got, text = post(demo_server.address, path, body, **headers)
    assert got == status
    assert ("is refused" in text) == (status == 403)


def test_demo_on_ctrl_c_ends_and_removes_its_files(tmp_path):
    server = start_demo(tmp_path)
    with socket.create_connection(("127.0.0.1", int(server.address.rstrip("/").split(":")[-1]))):
        assert any(tmp_path.glob("mutualformer_demo_*"))
        assert server.interrupt() == 130
    assert not list(tmp_path.glob("mutualformer_demo_*"))
    assert "Traceback" not in "".join(server.lines)


def test_demo_with_used_port_names_it():
    pytest.importorskip("gradio", reason="the extra demo is not installed")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"--port {port}: in use" in error_line(run_tool("demo", "--port", port))


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--host", "no.such.host.invalid"), "--host"),
        (("--host", "192.0.2.1"), "--host"),
        (("--weights", "no/such/file"), "no/such/file"),
        (("--max-megapixels", "0"), "--max-megapixels"),
        (("--max-upload", "-1"), "--max-upload"),
        (("--queue", "0"), "--queue"),
        (("--port", "70000"), "--port"),
        (("--device", "tpu"), "--device"),
    ],
)
def test_demo_with_wrong_flag_ends_in_one_line(flags, named):
    pytest.importorskip("gradio", reason="the extra demo is not installed")
    assert named in error_line(run_tool("demo", "--port", "0", *flags))


def test_demo_without_gradio_names_the_remedy():
    with mock.patch("importlib.util.find_spec", return_value=None):
        assert "pip install -e '.[demo]'" in error_line(run_tool("demo", "--port", "0"))


def test_demo_listens_to_this_machine_only_by_default(demo_server):
    port = int(demo_server.address.rstrip("/").split(":")[-1])
    listening = [
        line.split()[1]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        if line.split()[3] == "0A" and line.split()[1].endswith(f":{port:04X}")
    ]
    assert listening == [f"0100007F:{port:04X}"]
