"""Processes start, and end, whatever OpenCV, torch and numpy have done in the process before."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mutualformer_sod.benchmark.speed import Contestant, Settings
from mutualformer_sod.data.audit.inspection import inspect_images
from mutualformer_sod.data.depth.encoding import DepthEncoding
from mutualformer_sod.data.discovery.sets import discover_sets
from mutualformer_sod.data.synthetic.scenes import write_samples
from mutualformer_sod.data.training.cache import CacheOptions, build_caches
from mutualformer_sod.data.training.dataset import SodDataset
from mutualformer_sod.data.training.loader import make_loader, open_stream
from mutualformer_sod.errors import InputError
from mutualformer_sod.experiments.schedule import LoggedProcess
from mutualformer_sod.metrics.folder import MapFolder
from mutualformer_sod.metrics.scoring import score_set
from mutualformer_sod.signals import ctrl_c_deferred
from mutualformer_sod.workers import worker_context, worker_pool

ROOT = Path(__file__).resolve().parents[2]
COUNT = 20
BATCHES = [[0, 1], [2, 3], [4, 5], [6, 7]]
NEAR_WHITE = DepthEncoding(kind="map", near="white", margin=1.0, reason="made so")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_samples(folder, COUNT, 1, size=(64, 72))
    return replace(discover_sets([folder])[0], encoding=NEAR_WHITE)


@pytest.fixture(autouse=True)
def used_threads():
    """A process whose libraries have all started their threads."""
    before = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(2)
    torch.set_num_threads(2)
    picture = np.zeros((2000, 2000, 3), np.uint8)
    cv2.resize(picture, (1500, 1500))
    cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    cv2.warpAffine(picture, np.float32([[1, 0, 5], [0.1, 1, 0]]), (2000, 2000))
    matrix = np.ones((500, 500), np.float32)
    matrix @ matrix
    torch.ones(500, 500) @ torch.ones(500, 500)
    yield
    cv2.setNumThreads(before[0])
    torch.set_num_threads(before[1])


def dataset(samples, caches=None):
    return SodDataset([samples], 32, caches=caches)


def test_check_data_workers_inspect_all_images(samples):
    found = inspect_images(samples.samples, workers=2)
    assert [image.sample for image in found] == list(samples.samples)


def test_check_data_workers_end_when_inspection_is_left_early(samples):
    found = inspect_images(samples.samples, workers=2)
    assert next(found).sample == samples.samples[0]
    found.close()


def test_evaluation_workers_score_all_maps(samples, tmp_path):
    gts = {sample.stem: sample.gt for sample in samples.samples}
    source = MapFolder("method", "SAMPLES", tmp_path, gts)
    with worker_pool(2) as pool:
        cells, _ = score_set([source], gts, pool=pool)
    assert cells[0].evaluator.results()["mae"] == 0
    assert cells[0].evaluator.results()["s_measure"] == pytest.approx(1)


def test_gallery_workers_answer_in_order():
    from mutualformer_sod.cli.gallery import in_processes

    assert list(in_processes(abs, range(-9, 0), 2)) == list(range(9, 0, -1))


@pytest.mark.parametrize("cache", ["off", "ram", "disk"])
def test_loader_workers_load_the_same_as_this_process(samples, tmp_path, cache):
    caches = None
    if cache != "off":
        options = CacheOptions(cache, 32, tmp_path, shared=True)
        caches = build_caches([samples], options, report=lambda _: None)
    training = dataset(samples, caches)
    loaded = list(make_loader(training, BATCHES, workers=2))
    for batch, expected in zip(loaded, make_loader(training, BATCHES), strict=True):
        assert torch.equal(batch["rgb"], expected["rgb"])
        assert torch.equal(batch["depth"], expected["depth"])


def test_training_stream_workers_load_every_batch(samples):
    training = dataset(samples)
    wanted = [[training.names[index] for index in batch] for batch in BATCHES]
    with open_stream(training, BATCHES, workers=2) as stream:
        assert [batch["name"] for batch in stream] == wanted


def test_loader_workers_leave_opencv_threads_of_this_process_alone(samples):
    list(make_loader(dataset(samples), BATCHES, workers=1))
    assert cv2.getNumThreads() == 2


def test_benchmark_process_measures_memory():
    assert Contestant("timm:resnet10t", Settings(64)).peak_memory() > 0


def test_comparison_process_runs_to_its_end(tmp_path):
    process = LoggedProcess("runs.no_such_function", (), tmp_path / "log.txt", threads=1)
    assert "no_such_function" in process.problem()
    assert "no_such_function" in (tmp_path / "log.txt").read_text()


@on_linux
def test_workers_are_forked_from_a_process_of_one_thread():
    with worker_pool(1) as pool:
        server = pool.submit(os.getppid).result()
    assert server != os.getpid()
    assert "\nThreads:\t1\n" in Path(f"/proc/{server}/status").read_text()


@on_linux
def test_workers_start_after_a_sigterm_to_all_processes(samples):
    with worker_pool(1) as pool:
        server = pool.submit(os.getppid).result()
    os.kill(server, signal.SIGTERM)
    with worker_pool(1) as pool:
        assert pool.submit(os.getppid).result() == server


@on_linux
def test_ctrl_c_while_the_server_imports_gives_no_traceback(tmp_path):
    (tmp_path / "slow_module.py").write_text(
        f"import pathlib, time; pathlib.Path({str(tmp_path / 'begun')!r}).touch(); time.sleep(1)"
    )
    script = (
        "import time\nfrom mutualformer_sod.workers import worker_context\n"
        "try:\n    worker_context(['slow_module'])\n    time.sleep(60)\n"
        "except KeyboardInterrupt:\n    print('interrupted')\n"
    )
    path = os.pathsep.join([str(ROOT), str(tmp_path)])
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not (tmp_path / "begun").exists() and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert (output, errors) == ("interrupted\n", "")


def test_processes_of_others_can_be_terminated():
    with worker_pool(1):
        process = multiprocessing.get_context("forkserver").Process(target=time.sleep, args=(99,))
        process.start()
        process.terminate()
        process.join(240)
    assert process.exitcode == -signal.SIGTERM


def test_workers_have_one_opencv_thread_each():
    with worker_pool(1) as pool:
        assert pool.submit(cv2.getNumThreads).result() == 1


def test_workers_can_be_terminated():
    with worker_pool(1) as pool:
        process = pool.submit(os.getpid).result()
        with pytest.raises(InputError, match="use fewer `workers`"), worker_pool(1) as other:
            other.submit(os.kill, other.submit(os.getpid).result(), signal.SIGTERM).result()
        assert pool.submit(os.getpid).result() == process


def test_script_without_main_guard_is_reported_in_one_line(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from mutualformer_sod.workers import worker_pool\n"
        "with worker_pool(1) as pool:\n"
        "    pool.submit(abs, -1).result()\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode != 0
    assert "__main__" in done.stderr.splitlines()[-1]


def test_start_method_exists_where_there_is_no_forkserver(monkeypatch):
    monkeypatch.setattr("multiprocessing.get_all_start_methods", lambda: ["spawn"])
    assert worker_context().get_start_method() == "spawn"


def test_ctrl_c_while_workers_start_takes_effect_afterwards():
    done = []
    with pytest.raises(KeyboardInterrupt):
        with ctrl_c_deferred():
            signal.raise_signal(signal.SIGINT)
            done.append("started")
        done.append("not reached")
    assert done == ["started"]
    with ctrl_c_deferred():
        pass
