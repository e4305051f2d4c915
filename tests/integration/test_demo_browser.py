"""The page of tools/demo.py in a real browser."""

import cv2
import pytest
from demo_server import make_uploads

from mutualformer_sod.data.synthetic.scenes import DEFAULT_SIZE

pytestmark = pytest.mark.browser

GRADIOS_OWN = "console warning: Method not implemented."  # at every upload, of its File component
SHOWN = ("#map_shown img", "#overlay_shown img", "#cutout_shown img")
PATIENCE = 90_000  # ms: the first picture waits for a cold network on a busy machine


@pytest.fixture(scope="module")
def uploads(tmp_path_factory):
    return make_uploads(tmp_path_factory.mktemp("uploads"))


@pytest.fixture
def watched(demo_server, chromium_page):
    watched = chromium_page()
    watched.page.set_default_timeout(PATIENCE)
    watched.page.goto(demo_server.address)
    watched.page.locator("#samples img").first.wait_for()
    return watched


def drop(page, place, path):
    """Put a file where the user would, in place of one that is there."""
    remove = page.locator(f"#{place}").get_by_role("button", name="Clear")
    if remove.count():
        remove.click()
    page.locator(f"#{place} input[type=file]").set_input_files(path)


def wait_for_message(page, part):
    page.wait_for_function(
        "part => document.querySelector('#message textarea').value.includes(part)", arg=part
    )
    return page.locator("#message textarea").input_value()


def test_upload_is_mapped_and_the_map_can_be_downloaded(watched, uploads, tmp_path):
    page = watched.page
    drop(page, "rgb", uploads["rgb.png None"].rgb)
    wait_for_message(page, "RGB only")
    drop(page, "depth", uploads["rgb.png d16.png"].depth)
    wait_for_message(page, "large values are near")
    for picture in (*SHOWN, "#depth_shown img"):
        page.locator(picture).wait_for()
    with page.expect_download() as download:
        page.locator("#download").click()
    assert download.value.suggested_filename == "rgb_map.png"
    download.value.save_as(tmp_path / "map.png")
    assert cv2.imread(str(tmp_path / "map.png"), cv2.IMREAD_UNCHANGED).shape == DEFAULT_SIZE
    page.locator("#invert input").check()
    wait_for_message(page, "inverted by the switch")
    assert [problem for problem in watched.problems if problem != GRADIOS_OWN] == []


def test_bad_file_gets_a_message_in_the_page_and_a_good_one_a_map(watched, uploads):
    page = watched.page
    drop(page, "rgb", uploads["text.png None"].rgb)
    assert "text.png" in wait_for_message(page, "Error: ")
    assert page.locator(SHOWN[0]).count() == 0
    drop(page, "rgb", uploads["rgb.png None"].rgb)
    page.locator(SHOWN[0]).wait_for()
    assert "Error" not in wait_for_message(page, "rgb.png")


def test_file_above_the_limit_is_refused_in_the_page(watched, tmp_path):
    large = tmp_path / "large.png"
    large.write_bytes(bytes(3 * 10**6))
    drop(watched.page, "rgb", large)
    watched.page.get_by_text("maximum").first.wait_for()


def test_sample_is_mapped_without_any_other_host(watched, demo_server):
    watched.page.locator("#samples img").nth(1).click()
    wait_for_message(watched.page, "scene_00001")
    for picture in (*SHOWN, "#depth_shown img"):
        watched.page.locator(picture).wait_for()
    own = (demo_server.address, "data:", "blob:")
    assert [url for url in watched.requested if not url.startswith(own)] == []
    assert watched.problems == []
