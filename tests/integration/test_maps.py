"""tools/test.py: maps at native size, resumable, the same however they are computed."""

import errno
import json
import os
import re
import shutil
import signal
import threading
import time

import cv2
import numpy as np
import pytest
import torch
from tool_runs import error_line, run_tool

from mutualformer_sod import Predictor
from mutualformer_sod.data.depth.polarity import with_encodings
from mutualformer_sod.data.discovery.sets import discover_sets
from mutualformer_sod.imaging.io import read_depth, read_rgb
from mutualformer_sod.inference import benchmark_maps
from mutualformer_sod.inference.predictor import native_saliency


def make_maps(run_folder, data, output, *options):
    return run_tool(
        "test",
        *("--data", data, "--weights", run_folder / "weights.safetensors", "--output", output),
        *("--device", "cpu", "--workers", 0, "--writers", 0, "--method", "m", *options),
    )


def maps_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.png"))}


@pytest.fixture(scope="module")
def maps(run_folder, scenes, tmp_path_factory):
    output = tmp_path_factory.mktemp("maps")
    done = make_maps(run_folder, scenes, output)
    assert done.status == 0, done.error
    return output / "m"


def test_test_writes_an_8_bit_map_at_native_size_for_every_image(maps, scenes):
    stems = {path.stem for path in (scenes / "SAMPLES" / "GT").iterdir()}
    assert {path.stem for path in (maps / "SAMPLES").iterdir()} == stems
    for path in (maps / "SAMPLES").iterdir():
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        gt = cv2.imread(str(scenes / "SAMPLES" / "GT" / f"{path.stem}.png"), cv2.IMREAD_UNCHANGED)
        assert image.shape == gt.shape
        assert image.dtype == np.uint8


def test_map_is_the_rounded_sigmoid_of_the_logits(maps, scenes, run_folder):
    predictor = Predictor.from_weights(run_folder / "weights.safetensors", device="cpu")
    (sod_set,) = with_encodings(discover_sets([scenes]), ["auto"])
    sample = sod_set.samples[3]
    saliency = predictor.predict(read_rgb(sample.rgb), read_depth(sample.depth), sod_set.encoding)
    stored = cv2.imread(str(maps / "SAMPLES" / f"{sample.stem}.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(stored, np.rint(saliency.astype(np.float64) * 255))


def test_run_json_records_weights_data_and_versions(maps):
    record = json.loads((maps / "run.json").read_text())
    assert len(record["weights_sha256"]) == 64
    assert record["config"]["preset"] == "tiny-scratch"
    assert record["protocol"]["train_images"] == {"SAMPLES": 9}
    assert record["sets"] == {"SAMPLES": {"images": 12, "has_depth": True}}
    assert record["near"] == {"SAMPLES": "white"}
    assert record["size"] == 32
    assert record["versions"]["torch"] == torch.__version__


@pytest.mark.parametrize(
    "options",
    [("--batch-size", 5), ("--workers", 2, "--batch-size", 3), ("--workers", 2, "--writers", 3)],
)
def test_maps_do_not_depend_on_batch_size_workers_or_writers(
    maps, run_folder, scenes, tmp_path, options
):
    assert make_maps(run_folder, scenes, tmp_path, *options).status == 0
    assert maps_of(tmp_path / "m" / "SAMPLES") == maps_of(maps / "SAMPLES")


def test_test_again_makes_the_missing_maps_only(maps, run_folder, scenes, tmp_path):
    shutil.copytree(maps, tmp_path / "m")
    folder = tmp_path / "m" / "SAMPLES"
    paths = sorted(folder.iterdir())
    for path in paths[:4]:
        path.unlink()
    kept = {path.name: path.stat().st_mtime_ns for path in paths[4:]}
    done = make_maps(run_folder, scenes, tmp_path)
    assert done.status == 0, done.error
    assert "12 maps, 4 written now" in done.output
    assert kept.items() <= {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}.items()
    assert maps_of(folder) == maps_of(maps / "SAMPLES")


def test_test_again_accepts_the_record_of_an_older_version(maps, run_folder, scenes, tmp_path):
    shutil.copytree(maps, tmp_path / "m")
    record = json.loads((tmp_path / "m" / "run.json").read_text())
    record["config"]["fusion"] |= {"theta": 0.02, "noise": True}  # switches of other methods
    (tmp_path / "m" / "run.json").write_text(json.dumps(record))
    done = make_maps(run_folder, scenes, tmp_path)
    assert done.status == 0, done.error
    assert "12 maps, 0 written now" in done.output


def test_test_without_overwrite_keeps_maps_of_other_settings(maps, run_folder, scenes, tmp_path):
    shutil.copytree(maps, tmp_path / "m")
    done = make_maps(run_folder, scenes, tmp_path, "--size", 64)
    assert "other values of size" in error_line(done)
    assert maps_of(tmp_path / "m" / "SAMPLES") == maps_of(maps / "SAMPLES")
    assert make_maps(run_folder, scenes, tmp_path, "--size", 64, "--overwrite").status == 0
    assert maps_of(tmp_path / "m" / "SAMPLES") != maps_of(maps / "SAMPLES")


def test_test_on_full_disk_names_the_file(run_folder, scenes, tmp_path, full_disk):
    with full_disk():
        done = make_maps(run_folder, scenes, tmp_path)
    assert str(tmp_path / "m" / "run.json") in error_line(done)


@pytest.mark.parametrize("threads", [0, 2])
def test_map_writers_on_full_disk_name_the_map(tmp_path, full_disk, threads):
    path = tmp_path / "SET" / "a.png"
    with (
        full_disk(),
        pytest.raises(OSError) as failed,
        benchmark_maps.map_writers(threads) as write,
    ):
        write(path, torch.randn(1, 1, 8, 8), (32, 32))
    assert failed.value.filename == str(path)
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize("writers", [0, 2])
def test_interrupted_overwrite_leaves_no_map_of_the_old_settings(
    maps, run_folder, scenes, tmp_path, monkeypatch, writers
):
    shutil.copytree(maps, tmp_path / "m")
    write, written = benchmark_maps.write_map, []

    def on_a_full_disk(path, saliency):
        if len(written) >= 3:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        written.append(write(path, saliency))

    with monkeypatch.context() as patch:
        patch.setattr(benchmark_maps, "write_map", on_a_full_disk)
        done = make_maps(
            *(run_folder, scenes, tmp_path, "--size", 64, "--overwrite", "--writers", writers)
        )
        assert "No space left on device" in error_line(done)
    assert make_maps(run_folder, scenes, tmp_path, "--size", 64).status == 0
    assert make_maps(run_folder, scenes, tmp_path / "new", "--size", 64).status == 0
    assert maps_of(tmp_path / "m" / "SAMPLES") == maps_of(tmp_path / "new" / "m" / "SAMPLES")


@pytest.mark.parametrize(
    ("number", "status", "line"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "stopped by SIGTERM")],
)
def test_test_stopped_by_signal_leaves_whole_files(
    maps, run_folder, scenes, tmp_path, monkeypatch, number, status, line
):
    write, begun, sent = benchmark_maps.write_map, threading.Event(), threading.Event()

    def slowly(path, saliency):
        # The signal meets maps in writing and others that wait; a busy machine has time to obey.
        seconds = 1 if sent.is_set() else 0.05
        begun.set()
        sent.wait(60)
        time.sleep(seconds)
        write(path, saliency)

    def send():
        begun.wait()
        os.kill(os.getpid(), number)
        sent.set()

    monkeypatch.setattr(benchmark_maps, "write_map", slowly)
    before = signal.getsignal(number)
    sender = threading.Thread(target=send)
    sender.start()
    done = make_maps(run_folder, scenes, tmp_path, "--workers", 1, "--writers", 2)
    begun.set()
    sender.join()
    for thread in threading.enumerate():  # a process waits for its writers before it ends
        if thread.name.startswith("ThreadPoolExecutor"):
            thread.join(60)
    assert done.status == status, done.error
    assert line in done.error
    assert "Traceback" not in done.error
    files = {path.name: path.read_bytes() for path in (tmp_path / "m" / "SAMPLES").iterdir()}
    assert 0 < len(files) < 12
    assert files.items() <= maps_of(maps / "SAMPLES").items()
    assert signal.getsignal(number) == before
    assert make_maps(run_folder, scenes, tmp_path).status == 0
    assert maps_of(tmp_path / "m" / "SAMPLES") == maps_of(maps / "SAMPLES")


def test_map_writers_on_slow_disk_bound_the_queue(tmp_path, monkeypatch):
    written = []

    def slowly(path, _):
        time.sleep(0.02)
        written.append(path)

    monkeypatch.setattr(benchmark_maps, "write_map", slowly)
    waiting = 0
    with benchmark_maps.map_writers(1) as write:
        for number in range(2 * benchmark_maps.QUEUE_SIZE):
            write(tmp_path / f"{number}.png", torch.zeros(1, 1, 2, 2), (2, 2))
            waiting = max(waiting, number + 1 - len(written))
    assert abs(waiting - benchmark_maps.QUEUE_SIZE) <= 1
    assert len(written) == 2 * benchmark_maps.QUEUE_SIZE


def test_map_writers_wait_for_the_last_map(tmp_path, monkeypatch):
    def refused(*_):
        time.sleep(0.05)
        raise OSError("late")

    monkeypatch.setattr(benchmark_maps, "write_map", refused)
    with pytest.raises(OSError, match="late"), benchmark_maps.map_writers(2) as write:
        write(tmp_path / "a.png", torch.zeros(1, 1, 2, 2), (2, 2))


def test_test_prints_its_speed(run_folder, scenes, tmp_path):
    done = make_maps(run_folder, scenes, tmp_path, "--writers", 2)
    told = re.search(r"speed: ([\d.]+) images/s .* ([\d.]+)% of the time", done.output)
    assert float(told[1]) > 0
    assert 0 < float(told[2]) <= 100
    done = make_maps(run_folder, scenes, tmp_path)  # all were there
    assert "images/s" not in done.output


def test_maps_without_depth_are_not_kept_as_maps_with_depth(run_folder, scenes, tmp_path):
    shutil.copytree(scenes / "SAMPLES", tmp_path / "data" / "A")
    (tmp_path / "data" / "A" / "depth").rename(tmp_path / "depth")
    assert make_maps(run_folder, tmp_path / "data", tmp_path, "--limit", 1).status == 0
    (tmp_path / "depth").rename(tmp_path / "data" / "A" / "depth")
    assert "near" in error_line(make_maps(run_folder, tmp_path / "data", tmp_path))


@pytest.mark.parametrize("content", [b"[]", b"\xff\xfe", b'{"near": [], "sets": {}}', b"{"])
def test_maps_with_broken_record_are_not_replaced(maps, run_folder, scenes, tmp_path, content):
    shutil.copytree(maps, tmp_path / "m")
    (tmp_path / "m" / "run.json").write_bytes(content)
    assert "run.json" in error_line(make_maps(run_folder, scenes, tmp_path))


def test_test_of_ground_truth_only_is_refused(run_folder, scenes, tmp_path):
    shutil.copytree(scenes / "SAMPLES" / "GT", tmp_path / "data" / "A" / "GT")
    line = error_line(make_maps(run_folder, tmp_path / "data", tmp_path))
    assert "no set with colour images" in line


def test_test_out_of_memory_ends_in_one_line(run_folder, scenes, tmp_path, monkeypatch):
    def out_of_memory(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(benchmark_maps.Predictor, "logits", out_of_memory)
    line = error_line(make_maps(run_folder, scenes, tmp_path))
    assert "--batch-size" in line


def test_maps_of_unknown_origin_are_not_replaced(run_folder, scenes, tmp_path):
    foreign = tmp_path / "m" / "SAMPLES" / "theirs.png"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"a competitor's map")
    assert "unknown origin" in error_line(make_maps(run_folder, scenes, tmp_path))
    assert foreign.read_bytes() == b"a competitor's map"


def test_limit_takes_the_first_images(run_folder, scenes, tmp_path):
    assert make_maps(run_folder, scenes, tmp_path, "--limit", 2).status == 0
    stems = sorted(path.stem for path in (scenes / "SAMPLES" / "GT").iterdir())
    assert sorted(p.stem for p in (tmp_path / "m" / "SAMPLES").iterdir()) == stems[:2]


def test_set_without_depth_is_mapped_from_rgb_only(run_folder, scenes, tmp_path):
    shutil.copytree(scenes / "SAMPLES", tmp_path / "data" / "FLAT")
    shutil.rmtree(tmp_path / "data" / "FLAT" / "depth")
    shutil.rmtree(tmp_path / "data" / "FLAT" / "GT")
    done = make_maps(run_folder, tmp_path / "data", tmp_path)
    assert done.status == 0, done.error
    assert "no depth: RGB only" in done.output
    stem = sorted(path.stem for path in (tmp_path / "m" / "FLAT").iterdir())[0]
    predictor = Predictor.from_weights(run_folder / "weights.safetensors", device="cpu")
    rgb_file = next((tmp_path / "data" / "FLAT" / "RGB").glob(f"{stem}.*"))
    saliency = predictor.predict(read_rgb(rgb_file))
    stored = cv2.imread(str(tmp_path / "m" / "FLAT" / f"{stem}.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(stored, np.rint(saliency.astype(np.float64) * 255))


def test_near_with_wrong_side_changes_the_maps(maps, run_folder, scenes, tmp_path):
    assert make_maps(run_folder, scenes, tmp_path, "--near", "SAMPLES=black").status == 0
    assert maps_of(tmp_path / "m" / "SAMPLES") != maps_of(maps / "SAMPLES")


def test_native_saliency_resizes_before_the_sigmoid():
    logits = torch.tensor([[[[-20.0, 20.0]]]])
    saliency = native_saliency(logits, (1, 4))
    assert saliency.shape == (1, 4)
    np.testing.assert_allclose(saliency[0, 1], 1 / (1 + np.exp(10)), rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--data", "nowhere"], "nowhere"),
        (["--sets", "NOSUCH"], "NOSUCH"),
        (["--weights", "nowhere.safetensors"], "nowhere.safetensors"),
        (["--weights", "README.md"], "README.md"),
        (["--preset", "small"], "'tiny-scratch', not 'small'"),
        (["--size", "3"], "--size"),
        (["--batch-size", "0"], "--batch-size"),
        (["--workers", "-1"], "--workers"),
        (["--writers", "-1"], "--writers"),
        (["--near", "up"], "--near"),
        (["--amp", "int4"], "--amp"),
        (["--device", "cuda:99"], "--device"),
        (["--limit", "0"], "--limit"),
        (["--method", "../m"], "--method"),
        (["--method", ".."], "--method"),
    ],
)
def test_test_with_mistake_ends_in_one_line(run_folder, scenes, tmp_path, options, word):
    assert word in error_line(make_maps(run_folder, scenes, tmp_path, *options))


@pytest.mark.parametrize("part", ["RGB", "depth"])
@pytest.mark.parametrize("damage", ["empty", "truncated", "text", "missing"])
def test_test_with_bad_image_names_it(run_folder, scenes, tmp_path, part, damage):
    data = tmp_path / "data"
    shutil.copytree(scenes, data)
    path = sorted((data / "SAMPLES" / part).iterdir())[5]
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(
            {"empty": b"", "truncated": content[: len(content) // 2]}.get(damage, b"x")
        )
    line = error_line(make_maps(run_folder, data, tmp_path, "--workers", 1))
    assert path.stem in line


@pytest.mark.parametrize("fill", [128, 1.5, -0.1, np.nan])
def test_predictor_with_raw_depth_without_encoding_raises(run_folder, fill):
    predictor = Predictor.from_weights(run_folder / "weights.safetensors", device="cpu")
    rgb, depth = np.zeros((40, 50, 3), np.uint8), np.full((40, 50), fill)
    with pytest.raises(ValueError, match="encoding="):
        predictor.predict(rgb, depth.astype(np.uint8) if fill == 128 else depth)
