"""The service in this process, with a network that is slow or fails: limits, queue, errors."""

import asyncio
import http.client
import json
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from form_client import form, post, request

from mutualformer_sod.errors import InputError
from mutualformer_sod.serving.access import bind
from mutualformer_sod.serving.jobs import ClientGone, Jobs
from mutualformer_sod.serving.pictures import Mapped, with_fields

uvicorn = pytest.importorskip("uvicorn", reason="the extra serve is not installed")
pytest.importorskip("fastapi_offline", reason="the extra serve is not installed")

PICTURE = ("rgb", ("a.png", b"bytes"))
FILE_BYTES = 10**5


class Slow:
    """In place of a `PictureService`: waits for ``go``, then answers or raises."""

    def __init__(self):
        self.go, self.begun = threading.Event(), threading.Event()
        self.asked, self.error, self.result = [], None, None

    def answer(self, asked, folder):
        self.begun.set()
        assert self.go.wait(240)
        self.asked.append(asked)
        assert asked.rgb.parent == folder
        if self.error:
            raise self.error(asked)
        return self.result or Mapped(asked.rgb.read_bytes(), ("a note, ü\nsecond line",))


@pytest.fixture
def service():
    return Slow()


@pytest.fixture
def serve(service, tmp_path, monkeypatch):
    """Start a service with given limits; return its address."""
    from mutualformer_sod.serving.app import build_app  # needs the extra
    from mutualformer_sod.serving.gate import Limits

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    stops = []

    def start(seconds=120.0, waiting=2, others=()):
        limits = Limits(FILE_BYTES, seconds)
        options = {"host": "127.0.0.1", "others": others, "about": {"weights": "none"}}
        app = build_app(service, limits, waiting=waiting, **options)
        listening = bind("127.0.0.1", 0)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        stops.append((server, thread))
        return f"http://127.0.0.1:{listening.getsockname()[1]}"

    yield start
    service.go.set()
    for server, thread in stops:
        server.should_exit = True
        thread.join(120)
    assert not list(tmp_path.glob("mutualformer_serve_*"))


def busy(address):
    return json.loads(request(f"{address}/health").body)["busy"]


def wait_until(condition):
    end = time.monotonic() + 60  # a busy machine
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_service_returns_result_and_notes_in_one_line(service, serve):
    service.go.set()
    answer = post(f"{serve()}/map", PICTURE)
    assert (answer.status, answer.body) == (200, b"bytes")
    assert answer.headers["x-notes"] == r"a note, \xfc second line"
    assert answer.headers["content-length"] == "5"


def test_service_with_full_queue_answers_503_and_a_time(service, serve):
    address = serve(waiting=2)
    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(post, f"{address}/map", PICTURE) for _ in range(3)]
        wait_until(lambda: busy(address) == 3)
        refused = post(f"{address}/map", PICTURE)
        service.go.set()
        assert [job.result().status for job in jobs] == [200] * 3
    assert refused.status == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert "try again" in refused.error
    wait_until(lambda: busy(address) == 0)
    assert post(f"{address}/map", PICTURE).status == 200


def test_service_after_its_time_answers_504_and_keeps_the_place_of_the_job(service, serve):
    address = serve(seconds=0.5, waiting=1)
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(post, f"{address}/map", PICTURE) for _ in range(2)]
        answers = [job.result() for job in jobs]
    assert [answer.status for answer in answers] == [504] * 2
    assert "0.5 s" in answers[0].error
    assert busy(address) == 1  # the job that runs; the other one never does
    service.go.set()
    wait_until(lambda: busy(address) == 0)
    assert len(service.asked) == 1
    assert post(f"{address}/map", PICTURE).status == 200


def connect(address):
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=120)


def head(length, kind="multipart/form-data; boundary=x"):
    lines = "POST /map HTTP/1.1", "Host: localhost", f"Content-Type: {kind}", length, "", ""
    return "\r\n".join(lines).encode()


def answer_on(client):
    """Return status and body of an answer, which may come in several packets."""
    answer = http.client.HTTPResponse(client)
    answer.begin()
    return answer.status, answer.read()


def test_service_forgets_the_job_of_a_client_that_has_gone(service, serve):
    address = serve()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, f"{address}/map", PICTURE)
        assert service.begun.wait(120)
        body, kind = form([PICTURE])
        with connect(address) as second:
            second.sendall(head(f"Content-Length: {len(body)}", kind) + body)
            wait_until(lambda: busy(address) == 2)
        wait_until(lambda: busy(address) == 1)
        service.go.set()
        assert first.result().status == 200
    assert len(service.asked) == 1


def test_service_frees_the_place_of_a_client_that_does_not_read(service, serve):
    service.result = Mapped(bytes(50 * 10**6), ())
    service.go.set()
    address = serve(seconds=1)
    body, kind = form([PICTURE])
    with connect(address) as client:
        client.sendall(head(f"Content-Length: {len(body)}", kind) + body)
        wait_until(lambda: service.asked)
        assert busy(address) == 1
        wait_until(lambda: busy(address) == 0)


def test_service_with_slow_upload_answers_408(serve):
    address = serve(seconds=0.5)
    with connect(address) as client:
        client.sendall(head("Content-Length: 1000") + b"--x\r\n")
        status, body = answer_on(client)
    assert status == 408
    assert b"upload took more than 0.5 s" in body


def test_service_with_announced_bytes_above_the_limit_answers_413_before_they_come(serve):
    with connect(serve()) as client:
        client.sendall(head("Content-Length: 1000000000"))
        assert answer_on(client)[0] == 413


def test_service_with_unannounced_bytes_above_the_limit_answers_413(serve):
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    start = b'--x\r\nContent-Disposition: form-data; name="rgb"; filename="a.png"\r\n\r\n'
    with connect(serve()) as client:
        client.sendall(head("Transfer-Encoding: chunked"))
        client.sendall(f"{len(start):x}\r\n".encode() + start + b"\r\n")
        for _ in range(8):
            client.sendall(chunk)
        assert answer_on(client)[0] == 413


def test_service_with_one_file_above_the_limit_names_it(serve):
    answer = post(f"{serve()}/map", ("rgb", ("groß.png", bytes(FILE_BYTES + 1))))
    assert answer.status == 413
    assert answer.error.startswith("groß.png: has 0.1 MB, more than 0.1")


@pytest.mark.parametrize(
    ("path", "fields", "line"),
    [
        ("map", [], "rgb: is missing"),
        ("map", [("rgb", "photo.png")], "rgb: is text instead of a file.*-F rgb=@FILE"),
        ("map", [("depth", ("d.png", b"x"))], "rgb: is missing"),
        ("map", [PICTURE, PICTURE], "rgb: sent 2 times"),
        ("map", [PICTURE, ("colour", "x")], "colour: unknown field. Fix: send rgb, depth, near"),
        ("map", [PICTURE, ("background", "white")], "background: unknown field"),
        ("map", [PICTURE, ("near", "white")], "near: has no effect without depth"),
        ("map", [PICTURE, ("depth-orientation", "shown")], "depth-orientation: has no effect"),
        ("map?near=white", [PICTURE], "near: is a query parameter"),
        ("overlay", [PICTURE, ("near", "left")], "near left: unknown. Fix: send 'auto', 'white'"),
        ("cutout", [PICTURE, ("crop", "perhaps")], "crop perhaps: neither true nor false"),
        ("cutout", [PICTURE, ("background", "/etc/passwd")], "background /etc/passwd: unknown"),
        ("cutout", [PICTURE, ("background", "a\0b")], "background a.*: unknown"),
    ],
)
def test_service_with_wrong_field_names_it_and_maps_nothing(service, serve, path, fields, line):
    answer = post(f"{serve()}/{path}", *fields)
    assert answer.status == 422
    assert "\n" not in answer.error
    assert re.match(line, answer.error), answer.error
    assert not service.begun.is_set()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"garbage", "multipart/form-data; boundary=x"),
        (b"garbage", "multipart/form-data"),
        (b"--x\r\n", "multipart/form-data; boundary=x"),
        (b'{"rgb": 1}', "application/json"),
        (b"", "text/plain"),
        (b"\xff" * 100, "application/x-www-form-urlencoded"),
    ],
)
def test_service_with_body_that_is_no_form_answers_in_one_line(serve, body, kind):
    answer = request(f"{serve()}/map", body, {"Content-Type": kind})
    assert answer.status in (400, 422)
    assert "Fix: send" in answer.error


@pytest.mark.parametrize(("path", "status"), [("nothing", 404), ("health", 405), ("", 404)])
def test_service_with_wrong_address_answers_in_one_line(serve, path, status):
    answer = post(f"{serve()}/{path}", PICTURE)
    assert answer.status == status
    assert "see /docs" in answer.error


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (lambda asked: InputError(f"{asked.rgb}: is bad"), 422, "x.png: is bad"),
        (lambda _: InputError("`depth_orientation`: x"), 422, "depth-orientation: x"),
        (lambda _: MemoryError(), 413, "out of memory"),
        (lambda _: OSError(28, "No space left", "/secret/x"), 500, "see the terminal"),
        (lambda _: KeyError("secret"), 500, "a defect of this server"),
    ],
)
def test_service_with_error_of_a_job_answers_it_and_goes_on(service, serve, error, status, line):
    service.error = error
    service.go.set()
    address = serve()
    answer = post(f"{address}/map", ("rgb", ("C:\\tmp\\../x.png", b"x")))
    assert answer.status == status
    assert line in answer.error
    assert "secret" not in answer.error and "/" not in answer.error
    service.error = None
    assert post(f"{address}/map", PICTURE).status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost:8000"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "Sod.Example:8000", "Origin": "https://sod.example"}, 200),
        ({"Origin": "http://evil.example"}, 403),
    ],
)
def test_service_refuses_foreign_hosts_and_pages(service, serve, headers, status):
    service.go.set()
    answer = post(f"{serve(others=['sod.example'])}/map", PICTURE, **headers)
    assert answer.status == status
    assert status == 200 or "--allow-host" in answer.error


def test_with_fields_names_fields_of_flags_and_arguments():
    message = "pass `near` white or --near black; `depth_orientation`; pass it as --video"
    assert with_fields(message) == (
        "pass near=white or near=black; depth-orientation; pass it to the command predict"
    )


def test_jobs_run_one_at_a_time_in_their_order():
    done, together = [], []

    async def forever():
        await asyncio.Event().wait()

    async def work():
        jobs = Jobs(9)

        def job(number):
            together.append(threading.active_count())
            time.sleep(0.01)
            done.append(number)
            return number

        runs = [jobs.run(lambda n=n: job(n), 120, forever(), lambda: None) for n in range(5)]
        results = await asyncio.gather(*runs)
        jobs.close()
        return results

    assert asyncio.run(work()) == done == [0, 1, 2, 3, 4]
    assert len(set(together)) == 1


def test_jobs_of_a_client_that_has_gone_clean_up_without_running():
    events = []

    async def work():
        jobs, block = Jobs(1), threading.Event()

        async def soon():
            await asyncio.sleep(0.05)

        async def forever():
            await asyncio.Event().wait()

        first = asyncio.ensure_future(
            jobs.run(lambda: block.wait(120), 120, forever(), lambda: None)
        )
        await asyncio.sleep(0)
        with pytest.raises(ClientGone):
            await jobs.run(
                lambda: events.append("ran"), 120, soon(), lambda: events.append("cleaned")
            )
        block.set()
        await first
        jobs.close()

    asyncio.run(work())
    assert events == ["cleaned"]
