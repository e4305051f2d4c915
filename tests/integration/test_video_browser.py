"""Videos of maps in a real browser."""

import base64

import numpy as np
import pytest

from mutualformer_sod.inference import ffmpeg
from mutualformer_sod.inference.webm import open_webm

pytestmark = pytest.mark.browser

TIMES = [0, 500, 700, 4000]  # ms


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Four grey frames of 641 x 359, each brighter than the one before it."""
    path = tmp_path_factory.mktemp("video") / "v.webm"
    with open_webm(path) as writer:
        for number, time in enumerate(TIMES):
            writer.write(np.full((359, 641), 60 * number, np.uint8), time)
    return path


# Grey level of the picture now shown. A data: address, because pixels of a file cannot be read.
SHADE = """(() => {
    const canvas = Object.assign(document.createElement('canvas'), {width: 1, height: 1});
    const context = canvas.getContext('2d');
    context.drawImage(v, 0, 0, 1, 1);
    return context.getImageData(0, 0, 1, 1).data[0];
})()"""

# Red, green, blue and opacity at a quarter and at three quarters of the width.
PIXELS = """(() => {
    const canvas = Object.assign(document.createElement('canvas'), {width: 160, height: 120});
    const context = canvas.getContext('2d');
    context.drawImage(v, 0, 0);
    return [40, 120].map(x => [...context.getImageData(x, 60, 1, 1).data]);
})()"""


def test_video_plays_at_its_size_and_shows_every_frame_at_its_time(chromium_page, video):
    watched = chromium_page()
    page = watched.page
    data = base64.b64encode(video.read_bytes()).decode()
    page.set_content(f'<video id="v" preload="auto" muted src="data:video/webm;base64,{data}">')
    watched.wait_until("v.readyState >= 3 || v.error !== null")
    assert page.evaluate("v.error && v.error.message") is None
    assert page.evaluate("[v.videoWidth, v.videoHeight]") == [641, 359]
    assert page.evaluate("v.duration") > TIMES[-1] / 1000
    for number, time in enumerate(TIMES):
        page.evaluate(f"v.currentTime = {(time + 100) / 1000}")
        # The browser may report the end of the seek before it shows the new frame.
        watched.wait_until(f"!v.seeking && Math.abs({SHADE} - {60 * number}) <= 3")
    page.evaluate("v.currentTime = 0; v.play()")
    watched.wait_until("v.currentTime > 0.3")
    assert not watched.problems


def test_transparent_video_shows_the_page_behind_it(chromium_page, tmp_path):
    pytest.importorskip("av", reason="the extra video is not installed")
    rgba = np.zeros((120, 160, 4), np.uint8)
    rgba[..., :3] = (200, 60, 40)
    rgba[:, 80:, 3] = 255
    with ffmpeg.open_alpha(tmp_path / "v.webm") as writer:
        for number in range(3):
            writer.write(rgba, 100 * number)
    watched = chromium_page()
    page = watched.page
    data = base64.b64encode((tmp_path / "v.webm").read_bytes()).decode()
    page.set_content(f'<video id="v" preload="auto" muted src="data:video/webm;base64,{data}">')
    watched.wait_until("v.readyState >= 3 || v.error !== null")
    assert page.evaluate("v.error && v.error.message") is None
    watched.wait_until(f"{PIXELS}[1][3] > 0")  # the first frame may be shown after it is decoded
    left, right = page.evaluate(PIXELS)
    assert left[3] == 0
    assert right == pytest.approx([200, 60, 40, 255], abs=6)
