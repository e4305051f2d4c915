"""Doubtful depth in the command lines that read it."""

import shutil

import cv2
import numpy as np
import pytest
from PIL import Image
from tool_runs import ROOT, error_line, run_tool, train_small

from mutualformer_sod import build_model
from mutualformer_sod.models.weights import save_weights

WEIGHTS = ROOT / "weights" / "mutualformer_tiny.safetensors"
IMAGES = 5

pytestmark = pytest.mark.usefixtures("shared_predictors")


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


@pytest.fixture
def data(tmp_path, scenes):
    """The first sample scenes as a set of its own, 8-bit depth with white near."""
    folder = tmp_path / "data" / "SAMPLES"
    for role in ("RGB", "depth", "GT"):
        (folder / role).mkdir(parents=True)
        for path in sorted((scenes / "SAMPLES" / role).iterdir())[:IMAGES]:
            shutil.copy(path, folder / role)
    return folder


def as_disparity(folder):
    """Store the depth as 16-bit disparity x256 below 32768, a range of millimetres."""
    for path in (folder / "depth").iterdir():
        cv2.imwrite(str(path), np.rint(read(path) * 100.5 + 99).astype(np.uint16))


def run_test(data, output, *options):
    return run_tool(
        *("test", "--data", data.parent, "--weights", WEIGHTS, "--output", output, "--device"),
        *("cpu", "--workers", 0, "--writers", 0, "--method", "m", *options),
    )


def run_predict(*options):
    return run_tool("predict", "--weights", WEIGHTS, *options)


def maps_of(output):
    return [read(path) for path in sorted((output / "m" / "SAMPLES").iterdir())]


# Maps that contradict their type


def test_test_maps_disparity_in_a_range_of_millimetres_as_its_8_bit_copy(data, tmp_path):
    assert run_test(data, tmp_path / "a").status == 0
    as_disparity(data)
    done = run_test(data, tmp_path / "b")
    assert done.status == 0, done.error
    for one, other in zip(maps_of(tmp_path / "a"), maps_of(tmp_path / "b"), strict=True):
        assert cv2.norm(one, other, cv2.NORM_INF) <= 1


def test_test_strict_stops_at_a_contradiction(data, tmp_path):
    as_disparity(data)
    line = error_line(run_test(data, tmp_path / "o", "--near", "strict"))
    assert "--near SAMPLES=black" in line
    assert "--near SAMPLES=white" in line


def test_train_strict_stops_at_a_contradiction(data, tmp_path):
    as_disparity(data)
    done = train_small(tmp_path / "run", data.parent, "--near", "strict")
    assert "--near SAMPLES=black" in error_line(done)


@pytest.mark.parametrize("near", ["auto", "strict"])
def test_predict_with_contradicting_map_stops(data, tmp_path, near):
    as_disparity(data)
    rgb, depth = (sorted((data / role).iterdir())[1] for role in ("RGB", "depth"))
    options = ["--rgb", rgb, "--depth", depth, "--output", tmp_path / "o"]
    line = error_line(run_predict(*options, "--near", near))
    assert "--near black" in line
    assert "--near white" in line
    assert run_predict(*options, "--near", "white").status == 0


def test_video_strict_stops_at_weak_evidence(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 64), np.uint8)
    for name in ("rgb.avi", "depth.avi"):
        codec = cv2.VideoWriter_fourcc(*"MJPG")
        video = cv2.VideoWriter(str(tmp_path / name), codec, 12, (64, 64))
        for frame in frames:
            video.write(np.dstack([frame] * 3))
        video.release()
    options = ["--video", tmp_path / "rgb.avi", "--depth-video", tmp_path / "depth.avi"]
    done = run_predict(*options, "--near", "strict", "--output", tmp_path / "o")
    assert "WEAK" in error_line(done)


# Readable depth without information


def spoil(path, kind):
    """Replace a depth map by one of a kind."""
    depth = read(path)
    spoilt = {
        "constant": np.full_like(depth, 90),
        "empty": np.zeros_like(depth),
        "two values": np.where(depth > np.median(depth), 255, 0).astype(np.uint8),
        "0 in more than half": np.where(depth > np.percentile(depth, 70), depth, 0),
        "other proportions": depth[: len(depth) // 2],
    }[kind]
    assert cv2.imwrite(str(path), spoilt)


KINDS = ("constant", "empty", "two values", "0 in more than half", "other proportions")


@pytest.mark.parametrize("kind", KINDS)
def test_test_names_doubtful_depth(data, tmp_path, caplog, kind):
    path = sorted((data / "depth").iterdir())[2]
    spoil(path, kind)
    done = run_test(data, tmp_path / "o", "--limit", 1)
    assert done.status == 0, done.error
    assert f"SAMPLES: depth: 1 of {IMAGES} maps: " in caplog.text
    assert kind in caplog.text
    assert str(path) in caplog.text


@pytest.mark.parametrize("value", [0, np.nan])
def test_test_of_set_without_usable_depth_reports_it(data, tmp_path, caplog, value):
    for path in (data / "depth").iterdir():
        np.save(path.with_suffix(".npy"), np.full(read(path).shape, value, np.float32))
        path.unlink()
    done = run_test(data, tmp_path / "o", "--limit", 1)
    assert done.status == 0, done.error
    assert "SAMPLES: depth none: every map is constant or empty" in done.output
    assert f"{IMAGES} of {IMAGES} maps: constant or empty" in caplog.text
    assert "filled" not in done.output


def test_train_with_nan_depth_names_it(data, tmp_path, caplog):
    for path in (data / "depth").iterdir():
        np.save(path.with_suffix(".npy"), np.full(read(path).shape, np.nan, np.float32))
        path.unlink()
    done = train_small(tmp_path / "run", data.parent, "--epochs", 1)
    assert done.status == 0, done.error
    assert f"{IMAGES} of {IMAGES} maps: constant or empty" in caplog.text


@pytest.mark.parametrize("suffix", [".mat", ".npz", ".exr", ".pfm", ".h5"])
def test_predict_without_readable_depth_stops(data, tmp_path, suffix):
    for path in (data / "depth").iterdir():
        path.rename(path.with_suffix(suffix))
    options = ["--rgb", data / "RGB", "--depth", data / "depth", "--output", tmp_path / "o"]
    line = error_line(run_predict(*options))
    assert f"--depth {data / 'depth'}: unsupported depth files" in line
    assert not (tmp_path / "o").exists()


def test_predict_with_one_unreadable_depth_fails_that_picture(data, tmp_path):
    path = sorted((data / "depth").iterdir())[0]
    path.rename(path.with_suffix(".mat"))
    options = ["--rgb", data / "RGB", "--depth", data / "depth", "--output", tmp_path / "o"]
    done = run_predict(*options)
    assert done.status == 1
    assert f"failed: {path.with_suffix('.mat')}: depth in .mat is unsupported. Fix: " in done.error


def test_video_with_constant_depth_reports_it(tmp_path):
    codec = cv2.VideoWriter_fourcc(*"MJPG")
    for name, value in (("rgb.avi", 90), ("depth.avi", 0)):
        video = cv2.VideoWriter(str(tmp_path / name), codec, 12, (64, 64))
        video.write(np.full((64, 64, 3), value, np.uint8))
        video.release()
    options = ["--video", tmp_path / "rgb.avi", "--depth-video", tmp_path / "depth.avi"]
    done = run_predict(*options, "--output", tmp_path / "o")
    assert done.status == 0, done.error
    assert "depth: none: every map is constant or empty" in done.output


def test_video_in_colour_is_refused_as_depth(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    frame = cv2.resize(rgb, (64, 48), interpolation=cv2.INTER_CUBIC)
    codec = cv2.VideoWriter_fourcc(*"mp4v")
    video = cv2.VideoWriter(str(tmp_path / "v.mp4"), codec, 12, (64, 48))
    for _ in range(3):
        video.write(frame)
    video.release()
    options = ["--video", tmp_path / "v.mp4", "--depth-video", tmp_path / "v.mp4"]
    line = error_line(run_predict(*options, "--output", tmp_path / "o"))
    assert "--depth-video" in line
    assert "in colour" in line


# Hidden depth


def test_test_of_rgb_only_decides_no_polarity(data, tmp_path, caplog):
    for path in (data / "depth").iterdir():
        path.write_bytes(b"")
    done = run_test(data, tmp_path / "o", "--modality", "rgb", "--limit", 1)
    assert done.status == 0, done.error
    assert "near" not in done.output + caplog.text
    assert "RGB only" in done.output


def test_weights_trained_without_depth_decide_no_polarity(data, tmp_path, caplog):
    done = train_small(tmp_path / "run", data.parent, "--modality", "rgb", "--epochs", 1)
    assert done.status == 0, done.error
    assert "near" not in done.output + caplog.text  # nor while they are trained
    assert "RGB only" in done.output
    weights = tmp_path / "run" / "weights.safetensors"
    done = run_test(data, tmp_path / "o", "--limit", 1, "--weights", weights)
    assert done.status == 0, done.error
    assert "near" not in done.output


def test_near_for_rgb_only_is_refused(data, tmp_path):
    weights = tmp_path / "rgb.safetensors"
    save_weights(build_model("tiny"), weights, {"modality": "rgb"})
    for options in (("--modality", "rgb"), ("--weights", weights)):
        done = run_test(data, tmp_path / "o", "--near", "white", *options)
        assert "--near has no effect" in error_line(done)
    options = ("--methods", "centre", "--near", "white", "--output", tmp_path / "o")
    line = error_line(run_tool("baselines", "--data", data, *options))
    assert "--near has no effect" in line


def test_weights_that_see_depth_alone_are_refused_without_depth(data, tmp_path):
    weights = tmp_path / "depth.safetensors"
    save_weights(build_model("tiny"), weights, {"modality": "depth"})
    options = ("--rgb", data / "RGB", "--weights", weights, "--output", tmp_path / "o")
    assert "use only depth. Fix: pass --depth" in error_line(run_predict(*options))
    shutil.move(data / "depth", tmp_path / "moved")
    line = error_line(run_test(data, tmp_path / "o", "--weights", weights))
    assert "no depth, but the network uses only depth" in line
    done = train_small(tmp_path / "run", data.parent, "--modality", "depth", "--epochs", 1)
    assert "--modality depth: no set has depth maps" in error_line(done)


def test_predict_refuses_depth_for_weights_trained_without(data, tmp_path):
    done = train_small(tmp_path / "run", data.parent, "--modality", "rgb", "--epochs", 1)
    assert done.status == 0, done.error
    line = error_line(
        run_tool(
            *("predict", "--rgb", data / "RGB", "--depth", data / "depth", "--weights"),
            *(tmp_path / "run" / "weights.safetensors", "--output", tmp_path / "o"),
        )
    )
    assert "were trained without depth" in line


# Depth of a picture with an orientation tag


def test_shown_depth_is_not_rotated_with_its_picture(data, tmp_path):
    rgb, depth = (sorted((data / role).iterdir())[1] for role in ("RGB", "depth"))
    side = min(read(rgb).shape[:2])
    picture = Image.fromarray(cv2.cvtColor(read(rgb)[:side, :side], cv2.COLOR_BGR2RGB))
    picture.save(tmp_path / "plain.png")
    exif = Image.Exif()
    exif[0x112] = 3
    picture.rotate(180).save(tmp_path / "tagged.png", exif=exif)
    cv2.imwrite(str(tmp_path / "depth.png"), read(depth)[:side, :side])
    maps = {}
    for name, options in (
        ("plain", []),
        ("tagged", ["--depth-orientation", "shown"]),
        ("tagged", []),
    ):
        done = run_predict(
            *("--rgb", tmp_path / f"{name}.png", "--depth", tmp_path / "depth.png"),
            *("--output", tmp_path / str(len(maps)), "--near", "white", *options),
        )
        assert done.status == 0, done.error
        maps[len(maps)] = read(tmp_path / str(len(maps)) / "maps" / f"{name}.png")
    assert cv2.norm(maps[0], maps[1], cv2.NORM_INF) <= 1
    assert cv2.norm(maps[0], maps[2], cv2.NORM_INF) > 1


def test_maps_of_another_depth_orientation_are_not_replaced(data, tmp_path):
    rgb, depth = (sorted((data / role).iterdir())[1] for role in ("RGB", "depth"))
    options = ["--rgb", rgb, "--depth", depth, "--output", tmp_path / "o"]
    assert run_predict(*options).status == 0
    line = error_line(run_predict(*options, "--depth-orientation", "shown"))
    assert "other values of depth_orientation" in line
    assert "--depth" in error_line(
        run_predict("--rgb", rgb, "--output", tmp_path, "--depth-orientation", "shown")
    )
