"""Tests of tools/evaluate.py: files, damage, interruption, cache and merging."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from evaluation_runs import STEMS, TOOL, evaluate, make_bench, refused, run_in, scores
from tool_runs import Done, run_tool

from mutualformer_sod.metrics.cache import ScoreCache, cache_key


@pytest.fixture
def bench(tmp_path) -> Path:
    return make_bench(tmp_path)


def per_image(folder: Path) -> list[dict[str, str]]:
    with (folder / "out/per_image.csv").open() as file:
        return list(csv.DictReader(file))


def test_evaluate_writes_all_files(bench):
    assert evaluate(bench).status == 0
    written = {path.name for path in (bench / "out").iterdir()}
    tables = {"scores.json", "table.csv", "table.md", "table.tex"}
    assert written == tables | {"per_image.csv", "curves.npz", "cache.sqlite"}


def test_evaluate_per_image_file_has_flags(bench):
    cv2.imwrite(str(bench / "data/MINI/GT/image_0.png"), np.zeros((48, 64), np.uint8))
    cv2.imwrite(str(bench / "data/MINI/GT/image_1.png"), np.full((48, 64), 255, np.uint8))
    assert evaluate(bench).status == 0
    flags = {row["image"]: row["flags"] for row in per_image(bench)}
    assert (flags["image_0"], flags["image_1"], flags["image_2"]) == ("empty_gt", "full_gt", "")


def test_evaluate_curves_have_every_method(bench):
    evaluate(bench)
    with np.load(bench / "out/curves.npz") as curves:
        assert curves["thresholds"].tolist() == list(range(255, -1, -1))
        assert curves["MINI/ours/precision"].shape == (256,)
        expected = scores(bench)["scores"]["theirs"]["MINI"]["max_f"]
        assert curves["MINI/theirs/f"].max() == pytest.approx(expected)


def test_evaluate_plots_are_drawn(bench):
    pytest.importorskip("matplotlib")
    assert evaluate(bench, "--plots").status == 0
    assert {path.name for path in (bench / "out/plots").iterdir()} == {"MINI.pdf", "MINI.png"}


def test_evaluate_columns_and_compare_are_printed(bench):
    result = evaluate(bench, "--columns", "iou", "ber", "--compare", "ours", "theirs")
    assert result.status == 0
    assert "IoU↑" in result.output and "maxE" not in result.output.split("protocol")[0]
    assert "ours − theirs, 6 images" in result.output


def test_evaluate_published_rows_are_printed(bench):
    (bench / "data/MINI").rename(bench / "data/SIP")
    for method in ("ours", "theirs"):
        (bench / f"maps/{method}/MINI").rename(bench / f"maps/{method}/SIP")
    out = evaluate(bench, "--published").output
    assert "TriTransNet†" in out and "ours − MutualFormer†" in out and "quoted" in out


def test_evaluate_damaged_files_are_each_named(bench):
    maps = bench / "maps/ours/MINI"
    content = bytearray((maps / "image_0.png").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (maps / "image_0.png").write_bytes(content)
    (maps / "image_1.png").unlink()
    (maps / "image_2.png").unlink()
    shutil.copy(maps / "image_3.png", maps / "stray.png")
    shutil.copy(maps / "image_4.png", maps / "image_4.bmp")
    result = evaluate(bench, "--allow-missing")
    assert result.status == 0
    assert "image_0.png: the file is damaged" in result.output
    assert "missing: image_1, image_2" in result.output
    assert "without an image of that name: stray.png" in result.output
    assert "two files: image_4" in result.output
    assert "4 of 6 images without a usable map" in result.output
    assert scores(bench)["scores"]["ours"]["MINI"]["images"] == 2


def test_evaluate_unscored_row_has_the_count_of_missing_maps(bench):
    (bench / "maps/ours/MINI/image_1.png").unlink()
    assert "1 of 6 images without a usable map" in evaluate(bench).output


def test_evaluate_stray_map_is_named_and_scored(bench):
    shutil.copy(bench / "maps/ours/MINI/image_3.png", bench / "maps/ours/MINI/stray.png")
    result = evaluate(bench)
    assert result.status == 0
    assert "stray.png" in result.output


def swap(first: Path, second: Path) -> None:
    aside = first.with_suffix(".aside")
    first.rename(aside)
    second.rename(first)
    aside.rename(second)


def test_evaluate_swapped_maps_are_suspected(bench):
    for stem, column in (("image_1", 16), ("image_4", 48)):
        gt = cv2.circle(np.zeros((48, 64), np.uint8), (column, 24), 11, 255, -1)
        cv2.imwrite(str(bench / f"data/MINI/GT/{stem}.png"), gt)
        cv2.imwrite(str(bench / f"maps/ours/MINI/{stem}.png"), cv2.blur(gt, (5, 5)))
        cv2.imwrite(str(bench / f"maps/theirs/MINI/{stem}.png"), cv2.blur(gt, (5, 5)))
    maps = bench / "maps/ours/MINI"
    swap(maps / "image_1.png", maps / "image_4.png")
    result = evaluate(bench)
    assert result.status == 0
    suspicions = [line for line in result.output.splitlines() if "swapped?" in line]
    assert len(suspicions) == 1
    assert "ours/MINI" in suspicions[0] and "image_1 and image_4" in suspicions[0]


def test_evaluate_swapped_maps_of_other_size_are_named(bench):
    gt = np.zeros((64, 48), np.uint8)
    gt[20:50, 10:30] = 255
    cv2.imwrite(str(bench / "data/MINI/GT/image_5.png"), gt)
    for method in ("ours", "theirs"):
        cv2.imwrite(str(bench / f"maps/{method}/MINI/image_5.png"), gt)
    maps = bench / "maps/ours/MINI"
    swap(maps / "image_2.png", maps / "image_5.png")
    out = evaluate(bench).output
    assert "resized to the ground truth's size: image_2, image_5" in out
    assert "another aspect ratio than the ground truth, swapped?: image_2, image_5" in out


def test_evaluate_empty_folder_is_named(bench):
    for path in (bench / "maps/ours/MINI").iterdir():
        path.unlink()
    result = evaluate(bench)
    assert "ours/MINI" in refused(result)
    assert "ours/MINI: no maps" in result.output


def test_evaluate_unwritable_output_is_refused(bench):
    (bench / "out").write_text("a file in the way")
    assert "--output out: cannot be written to" in refused(evaluate(bench))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_evaluate_read_only_output_is_refused(bench):
    (bench / "out").mkdir(mode=0o555)
    assert "cannot be written to (Permission denied)" in refused(evaluate(bench))


def test_evaluate_second_run_rescores_a_changed_map(bench):
    evaluate(bench)
    before = scores(bench)["scores"]
    assert evaluate(bench).status == 0
    assert scores(bench)["scores"] == before
    shutil.copy(bench / "maps/theirs/MINI/image_0.png", bench / "maps/ours/MINI/image_0.png")
    evaluate(bench)
    cached = scores(bench)["scores"]
    evaluate(bench, "--no-cache")
    assert cached == scores(bench)["scores"]
    assert cached["ours"] != before["ours"] and cached["theirs"] == before["theirs"]


def test_evaluate_second_run_computes_only_a_new_method(bench):
    evaluate(bench, "--methods", "ours")
    # A changed score in the cache is taken, so the pair is not computed again.
    cache = ScoreCache(bench / "out/cache.sqlite", writable=True)
    pair = (bench / "maps/ours/MINI/image_0.png", bench / "data/MINI/GT/image_0.png")
    key = cache_key(*(path.read_bytes() for path in pair), True)
    image, note = cache.get(key)
    cache.put(key, replace(image, scores=image.scores | {"mae": 6.0 + image.scores["mae"]}), note)
    cache.close()
    evaluate(bench, "--workers", "2")
    found = scores(bench)["scores"]
    assert found["ours"]["MINI"]["mae"] > 1.0 > found["theirs"]["MINI"]["mae"]


def test_evaluate_damaged_map_is_reported_without_messages_of_opencv(bench):
    path = bench / "maps/ours/MINI/image_0.png"
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    path.unlink()
    data = bytearray(cv2.imencode(".bmp", grey)[1].tobytes())
    data[46:50] = b"\xff\xff\xff\x7f"  # number of palette entries
    path.with_suffix(".bmp").write_bytes(data)
    flags = ["--data", "data", "--maps", "maps", "--output", "out", "--workers", "1"]
    command = [sys.executable, str(TOOL), *flags]
    done = subprocess.run(command, cwd=bench, capture_output=True, text=True)
    assert done.returncode == 2
    assert "image_0.bmp" in done.stdout + done.stderr
    assert "ERROR:" not in done.stderr


def test_evaluate_interrupted_run_leaves_no_table_and_continues(bench):
    data, maps = bench / "data/MINI/GT", bench / "maps/ours/MINI"
    for i in range(1500):  # long enough to be interrupted on a loaded machine
        shutil.copy(data / "image_0.png", data / f"copy_{i}.png")
        map_of = cv2.imread(str(maps / "image_0.png"), cv2.IMREAD_GRAYSCALE)
        map_of[0, 0], map_of[0, 1] = i % 256, i // 256
        cv2.imwrite(str(maps / f"copy_{i}.png"), map_of)
    flags = ["--data", "data", "--maps", "maps", "--methods", "ours", "--output", "out"]
    command = [sys.executable, str(TOOL), *flags, "--workers", "1"]
    running = subprocess.Popen(command, cwd=bench, stderr=subprocess.PIPE, text=True)
    cache = bench / "out/cache.sqlite"
    deadline = time.monotonic() + 240  # a busy machine
    while not (cache.exists() and cache.stat().st_size > 100_000) and time.monotonic() < deadline:
        time.sleep(0.005)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=240)
    assert running.returncode == 130
    assert "scores so far are kept" in errors and "Traceback" not in errors
    assert not (bench / "out/scores.json").exists()
    assert not (bench / "out/per_image.csv").exists()
    assert evaluate(bench, "--methods", "ours").status == 0
    assert scores(bench)["scores"]["ours"]["MINI"]["images"] == 1500 + len(STEMS)


def test_evaluate_parallel_runs_share_an_output(bench):
    command = [sys.executable, str(TOOL), "--data", "data", "--maps", "maps", "--output", "out"]
    flags = [["--methods", "ours"], ["--methods", "theirs"]] * 2
    running = [subprocess.Popen([*command, *f], cwd=bench, stderr=subprocess.PIPE) for f in flags]
    for run in running:
        (line,) = run.communicate()[1].splitlines()
        assert line.startswith(b"Next: ")
        assert run.returncode == 0
    assert len(per_image(bench)) == len(STEMS)


def test_evaluate_damaged_cache_does_not_stop_the_run(bench):
    evaluate(bench, "--methods", "ours")
    cache = bench / "out/cache.sqlite"
    content = bytearray(cache.read_bytes())
    content[-4000:] = b"\xff" * 4000
    cache.write_bytes(content)
    result = evaluate(bench)
    assert result.status == 0
    assert scores(bench)["scores"]["theirs"]["MINI"]["images"] == len(STEMS)
    assert "Traceback" not in result.error


def test_evaluate_names_without_unicode_are_escaped(bench):
    latin = os.fsdecode(b"caf\xe9.png")
    for folder in ("data/MINI/GT", "maps/ours/MINI", "maps/theirs/MINI"):
        (bench / folder / "image_0.png").rename(bench / folder / latin)
    (bench / "maps/ours/MINI/image_1.png").unlink()
    (bench / "maps/theirs/MINI" / latin).unlink()
    # A process of its own: its standard output has an encoding.
    flags = ["--data", "data", "--maps", "maps", "--output", "out", "--allow-missing"]
    command = [sys.executable, str(TOOL), *flags]
    result = subprocess.run(command, cwd=bench, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert r"missing: caf\udce9" in result.stdout
    assert r"caf\udce9" in {row["image"] for row in per_image(bench)}


def test_evaluate_killed_run_leaves_no_worker(bench):
    flags = ["--data", "data", "--maps", "maps", "--output", "out", "--workers", "2"]
    many = bench / "data/MINI/GT"
    for i in range(2000):
        (many / f"more_{i}.png").symlink_to("image_0.png")
        for method in ("ours", "theirs"):
            (bench / f"maps/{method}/MINI/more_{i}.png").symlink_to("image_0.png")
    running = subprocess.Popen([sys.executable, str(TOOL), *flags], cwd=bench)
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
    if not children.exists():
        running.kill()
        pytest.skip("needs /proc to list the children of a process")
    deadline = time.monotonic() + 240
    while len(workers := children.read_text().split()) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    running.kill()
    running.wait()
    while any(is_alive(worker) for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(workers) == 2
    assert not [worker for worker in workers if is_alive(worker)]


def is_alive(process: str) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_evaluate_limit_is_marked_without_stray_maps(bench):
    out = evaluate(bench, "--limit", "2").output
    assert "only 2 of 6 images" in out
    assert "without an image" not in out


@pytest.mark.parametrize("output", ["maps", "maps/scores"])
def test_evaluate_output_among_the_maps_is_refused(bench, output):
    assert "--output" in refused(evaluate(bench, "--output", output))


def test_evaluate_compare_equal_methods_is_refused(bench):
    assert "--compare" in refused(evaluate(bench, "--compare", "ours", "ours"))


def test_evaluate_compare_without_common_image_is_noted(bench):
    for stem, method in zip(STEMS, ("ours", "theirs") * 3, strict=True):
        (bench / f"maps/{method}/MINI/{stem}.png").unlink()
    result = evaluate(bench, "--allow-missing", "--compare", "ours", "theirs")
    assert result.status == 0
    assert "ours − theirs: no image has scores of both" in result.output


def test_evaluate_training_record_with_nan_is_written(bench):
    (bench / "maps/ours/run.json").write_text('{"protocol": {"loss": NaN}}')
    assert evaluate(bench).status == 0


def merge(folder: Path, *arguments: str) -> Done:
    return run_in(folder, "merge_scores", *arguments)


def test_merge_scores_of_two_runs_equals_one_run(bench):
    evaluate(bench)
    together = scores(bench)["scores"]
    evaluate(bench, "--methods", "ours", "--output", "one")
    evaluate(bench, "--methods", "theirs", "--output", "two")
    assert merge(bench, "one/scores.json", "two/scores.json", "--output", "both").status == 0
    assert json.loads((bench / "both/scores.json").read_text())["scores"] == together
    again = merge(bench, "one/scores.json", "--output", "both")
    assert "--overwrite" in refused(again)


def test_merge_scores_other_protocol_is_refused(bench):
    evaluate(bench, "--methods", "ours", "--output", "one")
    evaluate(bench, "--methods", "theirs", "--output", "two", "--no-normalize")
    result = merge(bench, "one/scores.json", "two/scores.json", "--output", "both")
    assert "normalize" in refused(result)
    assert not (bench / "both").exists()


@pytest.mark.parametrize("digits", ["-1", "0", "99"])
def test_merge_scores_impossible_digits_are_refused(bench, digits):
    evaluate(bench)
    result = merge(bench, "out/scores.json", "--output", "both", "--digits", digits)
    assert "--digits" in refused(result)


def test_benchmark_metrics_zero_workers_is_refused():
    assert "--workers" in refused(run_tool("benchmark_metrics", "--workers", "0"))


def test_benchmark_metrics_small_run_prints_times():
    flags = ["--size", "40x32", "--pairs", "2", "--rounds", "1", "--workers", "2"]
    result = run_tool("benchmark_metrics", *flags)
    assert result.status == 0
    assert "all metrics, without reading" in result.output
