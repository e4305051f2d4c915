"""``tools/predict.py --video``: times, sound, transparency, smoothing."""

import re
import shutil
from fractions import Fraction
from unittest import mock

import cv2
import numpy as np
import pytest
from tool_runs import error_line, run_tool

from mutualformer_sod import Predictor
from mutualformer_sod.configs.released import find_weights
from mutualformer_sod.imaging.photos import Photo
from mutualformer_sod.inference import ffmpeg
from mutualformer_sod.inference.overlays import CutoutStyle, cut_out
from mutualformer_sod.inference.webm import open_webm

pytestmark = pytest.mark.usefixtures("shared_predictors")
SIZE = (60, 90)
UNEVEN = [0, 40, 90, 300, 340, 1000, 1033]  # ms
MS = Fraction(1, 1000)


@pytest.fixture(scope="module")
def av():
    return pytest.importorskip("av", reason="the extra video is not installed")


def picture(number=0):
    """A red box on grey that moves, (60, 90, 3)."""
    rgb = np.full((*SIZE, 3), 90, np.uint8)
    rgb[20:45, 30 + 2 * number : 60 + 2 * number] = (200, 60, 40)
    return rgb


@pytest.fixture
def make(av, tmp_path):
    """Writes a video with given times and, if asked, sound that is silent for its first second."""

    def make(
        name,
        times,
        codec=None,
        video="mpeg4",
        rate=48000,
        layout="stereo",
        start=0,
        rate_of_frames=1000,
    ):
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            stream = container.add_stream(video, rate=rate_of_frames)
            stream.height, stream.width = SIZE
            stream.pix_fmt = "yuv420p"
            stream.time_base = stream.codec_context.time_base = MS
            track = codec and container.add_stream(codec, rate=rate, layout=layout)
            for number, time in enumerate(times):
                frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
                frame.pts, frame.time_base = start + time, MS
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
            if track:
                add_tone(av, container, track, rate, layout)
        return path

    return make


def add_tone(av, container, track, rate, layout):
    """A second of silence and a second of 440 Hz."""
    samples = (9000 * np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate)).astype(np.int16)
    samples[:rate] = 0
    channels = 1 if layout == "mono" else 2
    frame = av.AudioFrame.from_ndarray(
        np.repeat(samples, channels)[None], format="s16", layout=layout
    )
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    context = track.codec_context
    resampler = av.AudioResampler(context.format.name, layout, rate, context.frame_size or 1024)
    for part in resampler.resample(frame) + resampler.resample(None):
        container.mux(track.encode(part))
    container.mux(track.encode(None))


def predict(tmp_path, video, *flags):
    given = ("--video", video, "--weights", "tiny", "--output", tmp_path / "o", "--device", "cpu")
    done = run_tool("predict", *given, *flags)
    assert done.status == 0, done.error
    return done.output


def times_of(av, path):
    """Times of the frames of a file, ms."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [
            round(float(frame.pts * frame.time_base) * 1000) for frame in container.decode(stream)
        ]


def tone_starts(av, path):
    """For each track of sound: codec, and the time in s at which its tone starts."""
    found = []
    with av.open(str(path)) as container:
        count = len(container.streams.audio)
    for index in range(count):
        with av.open(str(path)) as container:
            track = container.streams.audio[index]
            scale = 1.0 if track.codec_context.format.name.startswith("flt") else 1 / 32768
            for frame in container.decode(track):
                loud = np.abs(frame.to_ndarray().astype(float)).max() * scale > 0.1
                if loud:
                    found.append((track.codec_context.name, frame.time))
                    break
    return found


@pytest.mark.parametrize("video", ["mpeg4", "libx264"])
def test_video_of_uneven_frame_times_keeps_count_and_times(av, tmp_path, make, video):
    path = make("ün: %03d even.mp4", UNEVEN, video=video)
    output = predict(tmp_path, path, "--overlay", "--cutout")
    assert "7 frames" in output and "ends after" not in output
    for kind in ("map", "overlay", "cutout"):
        assert times_of(av, tmp_path / "o" / f"ün: %03d even_{kind}.webm") == UNEVEN


@pytest.mark.parametrize(
    ("name", "codec", "rate", "layout", "want"),
    [
        ("v.mkv", "libopus", 48000, "stereo", "opus"),
        ("v.mp4", "aac", 44100, "stereo", "opus"),
        ("v.mov", "pcm_s16le", 22050, "mono", "opus"),
    ],
)
def test_video_outputs_have_the_sound_at_its_time(
    av, tmp_path, make, name, codec, rate, layout, want
):
    path = make(name, UNEVEN, codec, rate=rate, layout=layout)
    predict(tmp_path, path, "--cutout", "--background", "blur")
    for kind in ("map", "cutout"):
        file = tmp_path / "o" / f"v_{kind}.webm"
        assert times_of(av, file) == UNEVEN
        ((found, start),) = tone_starts(av, file)
        assert found == want
        assert start == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize(("name", "codec"), [("v.mkv", "libopus"), ("v.mp4", "aac")])
def test_video_with_longer_sound_is_not_reported_as_cut_off(tmp_path, make, name, codec):
    path = make(name, range(0, 1000, 100), codec, rate_of_frames=10)  # 2 s of sound
    assert "ends after" not in predict(tmp_path, path)


def test_video_with_longer_sound_without_pyav_is_reported_with_both_causes(tmp_path, make):
    path = make("v.mkv", range(0, 1000, 100), "libopus", rate_of_frames=10)
    with mock.patch.object(ffmpeg, "av", None):
        output = predict(tmp_path, path)
    assert "ends after 10 frames, at 1.0 s of the 2.0 s in its header: it is cut off, or" in output


@pytest.mark.parametrize("codec", [None, "libopus"])
def test_video_that_is_cut_off_is_reported(tmp_path, make, codec):
    path = make("v.mkv", range(0, 2000, 100), codec, rate_of_frames=10)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 7 // 10])
    assert re.search(r"ends after \d+ frames, at [01]\.\d s of the 2\.0 s", predict(tmp_path, path))


def test_video_that_starts_late_without_sound_is_not_reported_as_cut_off(tmp_path, make):
    path = make("v.mkv", range(0, 1000, 100), start=700, rate_of_frames=10)
    assert "ends after" not in predict(tmp_path, path)


def test_video_that_starts_after_its_sound_keeps_both_together(av, tmp_path, make):
    path = make("v.mkv", UNEVEN, "libopus", start=500)
    predict(tmp_path, path)
    file = tmp_path / "o" / "v_map.webm"
    assert times_of(av, file) == UNEVEN
    ((_, start),) = tone_starts(av, file)
    assert start == pytest.approx(0.5, abs=0.03)


def test_video_with_transparent_cutout_keeps_alpha_and_colours(av, tmp_path, make):
    path = make("v.mkv", UNEVEN, "libopus")
    predict(tmp_path, path, "--cutout")
    frames = []
    decoder = av.codec.CodecContext.create("libvpx-vp9", "r")  # the usual decoder drops alpha
    with av.open(str(tmp_path / "o" / "v_cutout.webm")) as container:
        for packet in container.demux(container.streams.video[0]):
            frames += decoder.decode(packet)
    assert len(frames) == len(UNEVEN)
    got = frames[3].to_ndarray(format="rgba").astype(int)
    rgb = list(av.open(str(path)).decode(video=0))[3].to_ndarray(format="rgb24")
    saliency = map_of(rgb)
    want = cut_out(Photo(rgb, rgb, None, SIZE, 1, ()), [saliency]).astype(int)
    assert np.abs(got[..., 3] - want[..., 3]).mean() < 6
    opaque = want[..., 3] > 250
    assert opaque.any() and got[..., 3][opaque].min() > 235
    assert np.abs(got - want)[opaque][:, :3].mean() < 8


def map_of(rgb):
    return Predictor.from_weights(find_weights("tiny"), None, "cpu", "auto").predict(rgb)


@pytest.mark.parametrize("size", [(1, 1), (31, 17), (61, 91)])
def test_transparent_video_of_any_size_keeps_it(av, tmp_path, size):
    path = tmp_path / "v.webm"
    with ffmpeg.open_alpha(path) as writer:
        for number in range(3):
            writer.write(np.full((*size, 4), 60 * number, np.uint8), 40 * number)
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    assert [(frame.height, frame.width) for frame in frames] == [size] * 3


def test_video_cutout_on_a_background_is_the_composed_picture(tmp_path):
    with open_webm(tmp_path / "v.webm") as writer:
        writer.write(picture(), 0)
    predict(tmp_path, tmp_path / "v.webm", "--cutout", "--background", "#2040f0")
    frames = [cv2.VideoCapture(str(p)).read()[1] for p in (tmp_path / "v.webm", cutout(tmp_path))]
    rgb = frames[0][..., ::-1].copy()
    saliency = map_of(rgb)
    style = CutoutStyle("#2040f0")
    want = cut_out(Photo(rgb, rgb, None, SIZE, 1, ()), [saliency], style)
    assert np.abs(frames[1][..., ::-1].astype(int) - want).mean() < 4


def cutout(tmp_path):
    return tmp_path / "o" / "v_cutout.webm"


def test_video_without_pyav_is_silent_and_says_so(tmp_path, make):
    path = make("v.mkv", UNEVEN, "libopus")
    with mock.patch.object(ffmpeg, "av", None):
        output = predict(tmp_path, path)
        refused = run_tool("predict", "--video", path, "--cutout", "--output", tmp_path / "p")
    assert "PyAV is not installed: sound is not copied" in output
    assert "--cutout: a transparent video needs PyAV" in error_line(refused)
    assert not (tmp_path / "p").exists()


def test_video_with_damaged_sound_keeps_the_pictures(av, tmp_path, make, monkeypatch):
    path = make("v.mkv", UNEVEN, "libopus")

    def broken(*_):
        raise av.FFmpegError(1, "damaged")

    monkeypatch.setattr(ffmpeg, "add_sound", broken)
    assert "v_map.webm: has no sound" in predict(tmp_path, path)
    assert times_of(av, tmp_path / "o" / "v_map.webm") == UNEVEN
    assert len(list((tmp_path / "o").iterdir())) == 1


def test_video_with_damaged_packets_of_sound_keeps_the_others(av, tmp_path, make):
    path = make("v.mp4", UNEVEN, "aac", rate=44100)
    with av.open(str(path)) as container:
        sound = [packet for packet in container.demux(audio=0) if packet.size]
        places = [(packet.pos, packet.size) for packet in sound[5:9]]
    data = bytearray(path.read_bytes())
    for start, size in places:
        data[start : start + size] = bytes(255 for _ in range(size))
    path.write_bytes(data)
    assert "has no sound" not in predict(tmp_path, path)
    ((_, start),) = tone_starts(av, tmp_path / "o" / "v_map.webm")
    assert start == pytest.approx(1.0, abs=0.03)


def test_video_without_known_codec_of_sound_keeps_the_pictures(av, tmp_path, make):
    path = make("v.mkv", UNEVEN, "pcm_s16le")
    path.write_bytes(path.read_bytes().replace(b"A_PCM/INT/LIT", b"A_XYZ/INT/LIT"))
    output = predict(tmp_path, path)
    assert "v.mkv: 1 of 1 audio tracks are omitted: unknown codec" in output
    assert times_of(av, tmp_path / "o" / "v_map.webm") == UNEVEN
    assert tone_starts(av, tmp_path / "o" / "v_map.webm") == []


def test_video_smooth_changes_later_maps_only(tmp_path):
    maps = {}
    for flags in ((), ("--smooth", "0"), ("--smooth", "0.9")):
        with open_webm(tmp_path / "v.webm") as writer:
            for number in range(4):
                writer.write(picture(number), 40 * number)
        predict(tmp_path, tmp_path / "v.webm", *flags)
        maps[flags] = (tmp_path / "o" / "v_map.webm").read_bytes()
        shutil.rmtree(tmp_path / "o")
    assert maps[()] == maps["--smooth", "0"]
    assert maps[()] != maps["--smooth", "0.9"]
