"""Tests of the page of tools/gallery.py in a real browser, opened from disk."""

import json

import pytest
from gallery_runs import AWKWARD_SET, make_gallery_bench, page_data
from tool_runs import run_tool

pytestmark = pytest.mark.browser

NAMES = "[...document.querySelectorAll('article h2')].map(h => h.firstChild.textContent)"
FOCUSED = "document.activeElement.querySelector('h2')?.firstChild.textContent"
# Thumbnails in the window that are not loaded.
NOT_LOADED = """
[...document.querySelectorAll('article img')].filter(img => {
  const box = img.getBoundingClientRect();
  return box.bottom > 0 && box.top < innerHeight && !(img.complete && img.naturalWidth > 0);
}).length
"""
LOADED = "document.querySelectorAll('article img').length > 0 && " + NOT_LOADED.strip() + " === 0"


@pytest.fixture(scope="module")
def sod60(shared_data, tmp_path_factory):
    """The gallery of three methods on 60 images."""
    folder = tmp_path_factory.mktemp("sod60")
    home = shared_data / "eval"
    flags = ("--data", home, "--maps", home / "SOD60" / "maps", "--output", folder)
    done = run_tool("gallery", *flags)
    assert done.status == 0, done.error
    return folder


@pytest.fixture(scope="module")
def awkward(tmp_path_factory):
    """A gallery whose names and folder have special characters of HTML and addresses."""
    root = tmp_path_factory.mktemp("awkward")
    bench, folder = make_gallery_bench(root), root / "page #1 100%25 'q' <b>"
    (bench / "maps/good/DEEP/1.png").unlink()
    flags = ("--data", bench / "data", "--maps", bench / "maps", "--output", folder)
    assert run_tool("gallery", *flags, "--title", "<i>maps</i>").status == 0
    return folder


def opened(chromium_page, folder, *arguments):
    watched = chromium_page(*arguments)
    watched.page.goto((folder / "index.html").resolve().as_uri())
    return watched, watched.page


def check_clean(watched):
    assert watched.problems == []
    assert [url for url in watched.requested if not url.startswith(("file:", "data:"))] == []


def text(page, selector):
    return page.locator(selector).inner_text()


def order_by_s(folder, method):
    images = page_data(folder)["images"]
    ranked = sorted(images, key=lambda image: image["maps"][method]["scores"][0])
    return [f"{image['set']}/{image['stem']}" for image in ranked]


def test_page_opens_from_disk_without_an_error(chromium_page, sod60):
    watched, page = opened(chromium_page, sod60)
    assert text(page, "#count") == "60 images"
    watched.wait_until(LOADED)
    page.keyboard.press("End")
    watched.wait_until(LOADED)
    assert page.evaluate(FOCUSED) == page.evaluate(NAMES)[-1]
    check_clean(watched)


def test_page_loads_only_pictures_near_the_window(chromium_page, sod60):
    watched, _ = opened(chromium_page, sod60)
    watched.wait_until(LOADED)
    thumbs = [url for url in watched.requested if "/thumbs/" in url]
    assert 0 < len(thumbs) < 0.5 * 60 * 7


def test_page_sorts_by_score_in_both_directions(chromium_page, sod60):
    watched, page = opened(chromium_page, sod60)
    page.select_option("#sort", "s_measure")
    page.select_option("#of", label="DSS")
    worst_first = order_by_s(sod60, 1)
    assert page.evaluate(NAMES) == worst_first
    page.keyboard.press("Escape")  # leaves the control, so that the page gets the keys
    page.keyboard.press("r")
    assert page.evaluate(NAMES) == worst_first[::-1]
    page.reload()  # the choice is in the URL
    assert page.evaluate(NAMES) == worst_first[::-1]
    watched.wait_until(LOADED)
    check_clean(watched)


def test_page_sorts_by_disagreement(chromium_page, sod60):
    _, page = opened(chromium_page, sod60)
    page.select_option("#sort", "disagreement")
    images = page_data(sod60)["images"]
    ranked = sorted(images, key=lambda image: -image["disagreement"])
    assert page.evaluate(NAMES) == [f"{i['set']}/{i['stem']}" for i in ranked]


def test_page_filters_by_name_and_set(chromium_page, awkward):
    watched, page = opened(chromium_page, awkward)
    page.keyboard.press("/")
    page.keyboard.type("A #")
    assert page.evaluate(NAMES) == [f"{AWKWARD_SET}/a #1"]
    assert text(page, "#count") == "1 of 8 images"
    page.fill("#text", "nothing of the kind")
    assert page.locator("#none").is_visible()
    page.fill("#text", "")
    page.select_option("#set", label="DEEP")
    assert page.evaluate(NAMES) == ["DEEP/0", "DEEP/1", "DEEP/2"]
    check_clean(watched)


def test_page_shows_names_unchanged(chromium_page, awkward):
    watched, page = opened(chromium_page, awkward)
    assert page.title() == "<i>maps</i>"
    assert page.evaluate(NAMES)[3] == f"{AWKWARD_SET}/d'e<!--<b>"
    assert page.locator("figcaption b").first.inner_text() == "bad & <b>"
    assert page.locator("article b b").count() == 0
    watched.wait_until(LOADED)
    check_clean(watched)


def test_page_missing_map_is_shown_and_listed(chromium_page, awkward):
    _, page = opened(chromium_page, awkward)
    card = page.locator("article", has_text="DEEP/1")
    assert card.locator(".absent").all_text_contents() == ["missing"]  # not drawn yet
    page.locator("#missing summary").click()
    assert text(page, "#missing li") == "DEEP/1: good: missing"


def test_page_keys_move_through_the_pictures(chromium_page, sod60):
    watched, page = opened(chromium_page, sod60)
    names = page.evaluate(NAMES)
    press = page.keyboard.press
    press("ArrowDown")
    assert page.evaluate(FOCUSED) == names[1]
    press("Enter")
    assert text(page, "#zoom-title") == f"{names[1]} (2 of 60): Amulet"
    for key, title in [
        ("ArrowRight", f"{names[1]} (2 of 60): Amulet: errors"),
        ("3", f"{names[1]} (2 of 60): PiCANet"),
        ("e", f"{names[1]} (2 of 60): PiCANet: errors"),
        ("ArrowDown", f"{names[2]} (3 of 60): PiCANet: errors"),
        ("0", f"{names[2]} (3 of 60): ground truth"),
    ]:
        press(key)
        assert text(page, "#zoom-title") == title
    watched.wait_until("document.getElementById('zoom-picture').naturalWidth > 0")
    press("Enter")
    picture = page.locator("#zoom-picture")
    size = page_data(sod60)["images"][2]["gt"]["size"]
    assert [round(picture.bounding_box()[side]) for side in ("height", "width")] == size
    press("Escape")
    assert not page.locator("#zoom").is_visible()
    # The dialog reports its end after the event of this key.
    watched.wait_until(f"{FOCUSED} === {json.dumps(names[2])}")
    check_clean(watched)


def test_page_click_on_thumbnail_opens_zoom(chromium_page, awkward):
    watched, page = opened(chromium_page, awkward)
    page.get_by_alt_text("depth (near = bright) of DEEP/2").click()
    assert text(page, "#zoom-title") == "DEEP/2 (8 of 8): depth (near = bright)"
    watched.wait_until("document.getElementById('zoom-picture').naturalWidth > 0")
    page.get_by_role("button", name="Close").click()
    assert not page.locator("#zoom").is_visible()
    check_clean(watched)


def test_page_pictures_and_controls_have_labels(chromium_page, awkward):
    _, page = opened(chromium_page, awkward)
    assert page.locator("article img:not([alt])").count() == 0
    assert page.locator("article img[alt='']").count() == 0
    for name in ("Sort", "Set", "Name", "Size", "errors"):
        assert page.get_by_label(name, exact=False).count() >= 1


def test_page_narrow_window_cuts_nothing_off(chromium_page, sod60):
    _, page = opened(chromium_page, sod60, (380, 700))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
