"""``tools/predict.py`` as a user starts it, on good and on bad files."""

import itertools
import os
import shutil
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image
from tool_runs import ROOT, error_line, run_tool

from mutualformer_sod import Predictor
from mutualformer_sod.inference import picture_maps
from mutualformer_sod.inference.overlays import CUTOUTS, KINDS, paint
from mutualformer_sod.inference.picture_depth import plan_depths
from mutualformer_sod.inference.picture_maps import PictureOutputs, predict_pictures
from mutualformer_sod.inference.picture_pairs import Picture
from mutualformer_sod.inference.webm import open_webm

pytestmark = pytest.mark.usefixtures("shared_predictors")
WEIGHTS = ROOT / "weights" / "mutualformer_tiny.safetensors"


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """A red box on grey, (60, 90, 3)."""
    rgb = np.full((60, 90, 3), 90, np.uint8)
    rgb[20:45, 30:60] = (200, 60, 40)
    return rgb


@pytest.fixture(scope="module")
def depth() -> np.ndarray:
    """Its depth in millimetres with a hole, (60, 90) uint16."""
    millimetres = np.tile(np.linspace(3000, 1200, 60)[:, None], (1, 90)).astype(np.uint16)
    millimetres[20:45, 30:60] = 900
    millimetres[:4, :4] = 0
    return millimetres


@pytest.fixture
def data(tmp_path, picture, depth):
    """Three pictures in rgb/, depth of two of them in depth/."""
    (tmp_path / "rgb").mkdir()
    (tmp_path / "depth").mkdir()
    for name in ("a", "b c", "d\né"):
        Image.fromarray(picture).save(tmp_path / "rgb" / f"{name}.png")
    Image.fromarray(depth).save(tmp_path / "depth" / "a.png")
    np.save(tmp_path / "depth" / "b c.npy", np.where(depth, depth / 1000, np.nan))
    return tmp_path


def predict(data, *options):
    given = ("--rgb", data / "rgb", "--weights", "tiny", "--output", data / "out")
    return run_tool("predict", *given, *options)


def with_depth(data, *options):
    return predict(data, "--depth", data / "depth", *options)


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def read(path):
    return cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)


def test_predict_writes_every_kind_at_native_size(data):
    done = with_depth(data, "--overlay", "--cutout")
    assert done.status == 0, done.error
    names = {f"{kind}/{stem}.png" for kind in (*KINDS, CUTOUTS) for stem in ("a", "b c", "d\né")}
    assert set(files_of(data / "out")) == names
    assert read(data / "out" / "maps" / "a.png").shape == (60, 90)
    assert read(data / "out" / "overlays" / "a.png").shape == (60, 90, 3)
    cut, saliency = (read(data / "out" / kind / "a.png") for kind in ("cutouts", "maps"))
    assert np.array_equal(cut[..., 3], saliency)
    assert "d é.png: has no matching depth: RGB only" in done.output
    assert "millimetres" in done.output
    assert "metres" in done.output


def test_predict_cutouts_of_another_background_are_made_again_on_demand(data):
    assert with_depth(data, "--cutout").status == 0
    line = error_line(with_depth(data, "--cutout", "--background", "white"))
    assert "made with other values of background" in line
    done = with_depth(data, "--cutout", "--background", "white", "--overwrite")
    assert done.status == 0, done.error
    assert read(data / "out" / "cutouts" / "a.png").shape == (60, 90, 3)


def test_predict_unknown_background_is_an_error(data):
    line = error_line(with_depth(data, "--cutout", "--background", "nocolour"))
    assert "--background nocolour: neither a colour nor a file" in line


def test_predict_gives_the_maps_of_test(tmp_path, scenes):
    scenes = shutil.copytree(scenes, tmp_path / "data")
    first = min((scenes / "SAMPLES" / "depth").iterdir())
    cv2.imwrite(str(first), np.full_like(read(first), 90))  # of one value: says nothing
    done = run_tool(
        *("test", "--data", scenes, "--output", tmp_path / "t", "--method", "m"),
        *("--weights", WEIGHTS, "--workers", 0),
    )
    assert done.status == 0, done.error
    folder = scenes / "SAMPLES"
    done = run_tool(
        *("predict", "--rgb", folder / "RGB", "--depth", folder / "depth"),
        *("--weights", WEIGHTS, "--output", tmp_path / "p"),
    )
    assert done.status == 0, done.error
    maps = sorted((tmp_path / "p" / "maps").iterdir())
    assert len(maps) == 12
    for path in maps:
        assert np.array_equal(read(path), read(tmp_path / "t" / "m" / "SAMPLES" / path.name))


def test_predict_again_makes_the_missing_files(data):
    assert predict(data).status == 0
    before = files_of(data / "out")
    (data / "out" / "maps" / "a.png").unlink()
    stamp = (data / "out" / "maps" / "b c.png").stat().st_mtime_ns
    done = predict(data)
    assert "1 of 3 pictures processed, RGB only, 2 existed" in done.output
    assert files_of(data / "out") == before
    assert (data / "out" / "maps" / "b c.png").stat().st_mtime_ns == stamp


@pytest.mark.parametrize("change", ["size", "depth", "picture", "foreign"])
def test_predict_without_overwrite_keeps_files_of_other_settings(data, picture, change):
    assert predict(data).status == 0
    options = {"size": ["--size", 64], "depth": ["--depth", data / "depth"]}.get(change, [])
    if change == "picture":
        Image.fromarray(picture[::-1]).save(data / "rgb" / "a.png")
    if change == "foreign":
        Image.fromarray(picture).save(data / "out" / "maps" / "a.png")
    before = files_of(data / "out")
    line = error_line(predict(data, *options))
    assert ("unknown origin" if change == "foreign" else f"other values of {change}") in line
    assert "--overwrite" in line
    assert files_of(data / "out") == before
    assert predict(data, *options, "--overwrite").status == 0
    assert files_of(data / "out") != before


def test_predict_with_link_to_itself_fails_that_picture_alone(data):
    link = data / "rgb" / "loop.png"
    link.symlink_to(link)
    done = predict(data)
    assert done.status == 1
    assert done.error.count("failed: ") == 1
    assert "loop.png" in done.error
    assert len(files_of(data / "out")) == 3


def test_predict_never_replaces_pictures(data):
    (data / "rgb").rename(data / "maps")
    before = files_of(data / "maps")
    done = run_tool("predict", "--rgb", data / "maps", "--output", data, "--overwrite")
    assert "pass another --output" in error_line(done)
    assert files_of(data / "maps") == before


def test_predict_with_bad_files_names_them_and_maps_the_others(data, picture):
    whole = (data / "rgb" / "a.png").read_bytes()
    bad = {
        "cut.png": whole[: len(whole) // 2],
        "zero.jpg": b"",
        "words.png": b"no picture",
        "phone.heic": b"\0\0\0\x18ftypheic\0\0\0\0",
    }
    for name, content in bad.items():
        (data / "rgb" / name).write_bytes(content)
    Image.fromarray(picture).save(data / "rgb" / "no_z.png")
    (data / "depth" / "no_z.png").write_bytes(b"")
    done = with_depth(data)
    assert done.status == 1
    failed = [line for line in done.error.splitlines() if line.startswith("failed: ")]
    for name in (*bad, "no_z.png"):
        assert sum(f"/{name}: " in line for line in failed) == 1, name
    assert len(failed) == 5
    assert "Traceback" not in done.error
    assert {path.stem for path in (data / "out" / "maps").iterdir()} == {"a", "b c", "d\né"}


def test_predict_on_full_disk_names_the_file(data, full_disk):
    with full_disk():
        line = error_line(predict(data))
    assert str(data / "out" / "maps" / "a.png") in line
    assert not any(path.is_file() for path in (data / "out").rglob("*"))


def test_predict_with_constant_depth_uses_rgb_only(data, depth):
    Image.fromarray(np.zeros_like(depth)).save(data / "depth" / "a.png")
    np.save(data / "depth" / "b c.npy", np.full(depth.shape, 2.5))
    done = with_depth(data)
    assert done.status == 0, done.error
    assert "a.png: empty depth: RGB only" in done.output
    assert "b c.png: constant depth: RGB only" in done.output
    maps = [read(path) for path in (data / "out" / "maps").iterdir()]
    assert all(np.array_equal(maps[0], other) for other in maps)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 70, 3), (70, 1, 3)])
def test_predict_maps_the_smallest_pictures(tmp_path, shape):
    Image.fromarray(np.zeros(shape, np.uint8)).save(tmp_path / "a.png")
    done = run_tool("predict", "--rgb", tmp_path / "a.png", "--output", tmp_path / "o", "--cutout")
    assert done.status == 0, done.error
    assert read(tmp_path / "o" / "maps" / "a.png").shape == shape[:2]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--rgb", "nowhere"], "nowhere"),
        (["--rgb", "README.md", "--weights", "nowhere"], "nowhere"),
        (["--rgb", "README.md", "--size", "3"], "--size"),
        (["--rgb", "README.md", "--near", "up"], "--near"),
        (["--rgb", "README.md", "--output", "README.md"], "--output"),
        (["--rgb", "README.md", "--depth-video", "x"], "--depth-video"),
        (["--video", "x", "--depth", "y"], "--depth"),
        (["--video", "x", "--cutout", "--crop"], "--crop"),
        (["--video", "x", "--smooth", "1"], "--smooth"),
        (["--video", "x", "--smooth", "nan"], "--smooth"),
        (["--rgb", "README.md", "--smooth", "0.5"], "--smooth"),
        (["--rgb", "x", "--crop"], "Fix: pass --cutout"),
        (["--rgb", "x", "--background", "white"], "Fix: pass --cutout"),
        (["--video", "nowhere.mp4"], "nowhere.mp4"),
        (["--video", "README.md"], "README.md: OpenCV cannot open this video"),
        (["--video", "docs"], "--video docs: is a folder"),
        ([], "--rgb"),
    ],
)
def test_predict_with_mistake_ends_in_one_line(tmp_path, monkeypatch, options, word):
    monkeypatch.chdir(ROOT)
    assert word in error_line(run_tool("predict", "--output", tmp_path / "o", *options))


def test_predict_of_large_size_estimates_the_time_first(data):
    done = predict(data, "--size", 416)
    assert done.status == 0, done.error
    cost, end = (done.output.index(words) for words in ("--size 416: the network", "processed"))
    assert cost < end


def test_predict_reports_mistakes_in_pictures_before_importing_torch(data):
    (data / "rgb" / "a.jpg").write_bytes(b"")
    code = "import sys, runpy; sys.modules['torch'] = None; sys.argv = sys.argv[1:]; "
    code += "runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", code, str(ROOT / "tools" / "predict.py")]
    done = subprocess.run(
        [*command, "--rgb", str(data / "rgb"), "--output", str(data / "o")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert "one name" in done.stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_predict_stopped_by_signal_leaves_whole_files(data, monkeypatch, number, status):
    calls = itertools.count()

    def interrupted(*arguments):
        strips = paint(*arguments)
        yield next(strips)
        if next(calls) == 1:  # the second picture's header is on the disk
            signal.raise_signal(number)
        yield from strips

    monkeypatch.setattr(picture_maps, "paint", interrupted)
    before = signal.signal(number, signal.default_int_handler)
    try:
        done = predict(data)
    finally:
        signal.signal(number, before)
    assert done.status == status, done.error
    assert len([line for line in done.error.splitlines() if line.startswith("predict.py: ")]) == 1
    assert "Traceback" not in done.error
    assert list(files_of(data / "out")) == ["maps/a.png"]
    monkeypatch.undo()
    assert "2 of 3 pictures processed" in predict(data).output


class TestVideo:
    @pytest.fixture
    def video(self, tmp_path, picture):
        """Writes a video of so many frames; a grey one shows the box near."""

        def write(name, frames, grey=False, rate=12, size=(90, 60)):
            path = tmp_path / name
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), rate, size)
            ramp = np.tile(np.linspace(20, 120, 60)[:, None], (1, 90)).astype(np.uint8)
            ramp[20:45, 30:60] = 230
            bgr = np.dstack([ramp] * 3) if grey else picture[..., ::-1].copy()
            for _ in range(frames):
                writer.write(cv2.resize(bgr, size))
            writer.release()
            return path

        return write

    def frames_of(self, path):
        capture = cv2.VideoCapture(str(path))
        frames, times = [], []
        while (got := capture.read())[0]:
            frames.append(got[1])
            times.append(capture.get(cv2.CAP_PROP_POS_MSEC))
        return frames, times, capture.get(cv2.CAP_PROP_FPS)

    def predict(self, tmp_path, video, *options):
        given = ("--video", video, "--weights", "tiny", "--output", tmp_path / "o")
        return run_tool("predict", *given, *options)

    def test_video_has_a_map_for_every_frame(self, tmp_path, video):
        options = [tmp_path, video("v.mp4", 5), "--overlay"]
        done = self.predict(*options)
        assert done.status == 0, done.error
        for name in ("v_map.webm", "v_overlay.webm"):
            frames, _, rate = self.frames_of(tmp_path / "o" / name)
            assert (len(frames), frames[0].shape, rate) == (5, (60, 90, 3), 12)
        assert "exists" in error_line(self.predict(*options))
        assert self.predict(*options, "--overwrite").status == 0

    def test_video_map_equals_the_map_of_its_frame(self, tmp_path, video):
        path = video("v.mp4", 2)
        assert self.predict(tmp_path, path).status == 0
        want = Predictor.from_weights(WEIGHTS).predict(self.frames_of(path)[0][0][..., ::-1])
        got = self.frames_of(tmp_path / "o" / "v_map.webm")[0][0]
        assert np.abs(got / 255 - want[..., None]).mean() < 0.01

    def test_video_keeps_odd_sizes_and_uneven_times(self, tmp_path, picture):
        given = [0, 40, 90, 300, 340, 1000]
        with open_webm(tmp_path / "v.webm") as writer:
            for time in given:
                writer.write(np.pad(picture, ((0, 1), (0, 1), (0, 0)), "edge"), time)
        done = self.predict(tmp_path, tmp_path / "v.webm", "--overlay")
        assert done.status == 0, done.error
        assert "ends after" not in done.output
        for name in ("v_map.webm", "v_overlay.webm"):
            frames, times, _ = self.frames_of(tmp_path / "o" / name)
            assert {frame.shape for frame in frames} == {(61, 91, 3)}
            assert times == pytest.approx(given)

    @pytest.mark.parametrize(
        ("frames", "word"), [(3, "shorter: no depth for 2 frames"), (9, "longer")]
    )
    def test_video_with_depth_of_another_length_is_reported(self, tmp_path, video, frames, word):
        depth_video = video("d.mp4", frames, grey=True)
        done = self.predict(tmp_path, video("v.mp4", 5), "--depth-video", depth_video)
        assert done.status == 0, done.error
        assert word in done.output
        assert "near = white" in done.output

    def test_video_with_depth_of_other_proportions_is_reported(self, tmp_path, video):
        depth_video = video("d.mp4", 2, grey=True, size=(60, 60))
        done = self.predict(tmp_path, video("v.mp4", 2), "--depth-video", depth_video)
        assert done.status == 0, done.error
        assert done.output.count("STRETCHED") == 1
        assert "60 x 60 has other proportions than 90 x 60" in done.output

    def test_video_with_depth_of_another_rate_is_reported(self, tmp_path, video):
        depth_video = video("d.mp4", 2, grey=True, rate=6)
        done = self.predict(tmp_path, video("v.mp4", 2), "--depth-video", depth_video)
        assert done.status == 0, done.error
        assert "6 frames/s, the video has 12" in done.output

    @pytest.mark.parametrize("flag", ["--video", "--depth-video"])
    @pytest.mark.parametrize(("name", "word"), [("", "is a folder"), ("no.mp4", "no such file")])
    def test_video_with_wrong_path_is_reported_before_reading_weights(
        self, tmp_path, video, flag, name, word
    ):
        files = {"--video": video("v.mp4", 2), flag: tmp_path / name}
        flags = [part for pair in files.items() for part in pair]
        done = run_tool("predict", *flags, "--output", tmp_path / "o", "--weights", "nowhere")
        assert error_line(done).count(f"{flag} {tmp_path / name}: {word}") == 1

    def test_truncated_video_ends_in_one_line(self, tmp_path, video):
        path = video("v.mp4", 5)
        path.write_bytes(path.read_bytes()[:-100])
        command = [sys.executable, str(ROOT / "tools" / "predict.py"), "--video", str(path)]
        environment = {k: v for k, v in os.environ.items() if k != "OPENCV_FFMPEG_LOGLEVEL"}
        done = subprocess.run(
            [*command, "--output", str(tmp_path)], capture_output=True, text=True, env=environment
        )
        assert done.returncode == 2
        assert [line.split()[0] for line in done.stderr.splitlines()] == ["predict.py:"]

    def test_truncated_video_is_named_and_leaves_nothing(self, tmp_path, video):
        path = video("v.mp4", 5)
        path.write_bytes(path.read_bytes()[:400])
        assert "v.mp4" in error_line(self.predict(tmp_path, path))
        assert not files_of(tmp_path / "o") if (tmp_path / "o").exists() else True


def test_predict_with_copies_of_real_depth_gives_one_map(tmp_path, shared_data):
    spot = shared_data / "spot" / "NJU2K"
    rgb = sorted((spot / "RGB").iterdir())[0]
    grey = cv2.imread(str(spot / "depth" / f"{rgb.stem}.jpg"), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(tmp_path / "same.png"), grey)
    cv2.imwrite(str(tmp_path / "inverted.png"), 255 - grey)
    cv2.imwrite(str(tmp_path / "wide.png"), grey.astype(np.uint16) * 257)
    np.save(tmp_path / "float.npy", (grey / 255).astype(np.float32))
    predictor = Predictor.from_weights(WEIGHTS, device="cpu")
    for near, names in (
        ("white", ["same.png", "wide.png", "float.npy"]),
        ("black", ["inverted.png"]),
    ):
        pictures = [Picture(name, rgb, tmp_path / name) for name in names]
        plan = plan_depths(pictures, near)
        outputs = PictureOutputs(tmp_path / "o", {})
        assert predict_pictures(predictor, pictures, plan, outputs).made == len(names)
    first, *others = (read(path) for path in sorted((tmp_path / "o" / "maps").iterdir()))
    assert len(others) == 3
    assert all(cv2.norm(first, other, cv2.NORM_INF) <= 1 for other in others)


def test_predict_with_depth_and_estimated_depth_is_refused(data):
    assert "--estimate-depth" in error_line(with_depth(data, "--estimate-depth"))


def test_predict_with_wrong_estimator_file_is_refused(data):
    done = predict(data, "--estimate-depth", WEIGHTS)
    assert "tools/estimate_depth.py train" in error_line(done)
