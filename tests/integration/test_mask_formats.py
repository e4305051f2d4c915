"""One table of mask files: training, checking, scoring and the gallery understand each alike."""

import csv
import io
import json
import struct
import zlib

import cv2
import numpy as np
import pytest
from gallery_runs import page_data
from PIL import Image
from tool_runs import error_line, run_tool, train_small

from mutualformer_sod.data.discovery.sets import discover_sets
from mutualformer_sod.data.training.dataset import SodDataset
from mutualformer_sod.errors import InputError, counted
from mutualformer_sod.imaging.masks import read_mask

SIZE = (48, 64)
MASK = cv2.circle(np.zeros(SIZE, np.uint8), (32, 24), 15, 1, -1).astype(bool)
SOFT = cv2.GaussianBlur(MASK.astype(np.uint8) * 255, (0, 0), 2.0)
OTHER = np.roll(MASK, 9, axis=1)
RAMP = np.tile(np.linspace(0, 255, SIZE[1]).astype(np.uint8), (SIZE[0], 1))
TWO = "values 0 and 1, foreground = 1"
SEVERAL = "more than two values, foreground = above 128"
COLOUR = "one colour on black, foreground = colour"
ALPHA = "mask in the alpha channel"


def two(value, dtype=np.uint8, background=0):
    return np.where(MASK, value, background).astype(dtype)


def colours(foreground, background=(0, 0, 0), mask=MASK):
    return np.where(mask[..., None], foreground, background).astype(np.uint8)


def with_alpha(image, alpha):
    image = image if image.ndim == 3 else np.dstack([image] * 3)
    return np.dstack([image, alpha])


def encoded(image, suffix=".png", *options):
    return cv2.imencode(suffix, image, list(options))[1].tobytes()


def by_pillow(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def palette(*entries, indices=MASK):
    image = Image.fromarray(np.asarray(indices, np.uint8)).convert("P")
    image.putpalette(
        [level for entry in entries for level in entry] + [0] * (768 - 3 * len(entries))
    )
    return image


def with_damaged_chunk(png):
    """The PNG with a text chunk, which decoders may skip, of a wrong checksum."""
    body = b"Comment\0by hand"
    chunk = struct.pack(">I", len(body)) + b"tEXt" + body
    return png[:33] + chunk + struct.pack(">I", zlib.crc32(b"tEXt" + body) ^ 1) + png[33:]


QUALITY = (cv2.IMWRITE_JPEG_QUALITY, 60)
FULL = np.full(SIZE, 255, np.uint8)
# name: (suffix, bytes of the file, note, the mask)
CLEAR = {
    # the six on which two readers disagreed
    "soft_edge": (".png", encoded(SOFT), SEVERAL, SOFT > 128),
    "alpha_of_constant_colour": (".png", encoded(with_alpha(FULL, two(255))), ALPHA, MASK),
    "jpeg_with_a_tail": (".jpg", encoded(two(255), ".jpg", *QUALITY) + bytes(9000), SEVERAL, MASK),
    "damaged_text_chunk": (".png", with_damaged_chunk(encoded(two(255))), "", MASK),
    "16_bit_soft_edge": (".png", encoded(SOFT.astype(np.uint16) * 256), SEVERAL, SOFT > 128),
    "float_0_1": (".tif", encoded(two(1, np.float32), ".tif"), TWO, MASK),
    # grey
    "0_255": (".png", encoded(two(255)), "", MASK),
    "0_1": (".png", encoded(two(1)), TWO, MASK),
    "0_2": (".png", encoded(two(2)), "values 0 and 2, foreground = 2", MASK),
    "0_128": (".png", encoded(two(128)), "values 0 and 128, foreground = 128", MASK),
    "1_bit": (".png", encoded(two(255), ".png", cv2.IMWRITE_PNG_BILEVEL, 1), "", MASK),
    "16_bit": (".png", encoded(two(65535, np.uint16)), "", MASK),
    "16_bit_0_255": (".png", encoded(two(255, np.uint16)), "", MASK),
    "16_bit_0_1": (".png", encoded(two(1, np.uint16)), TWO, MASK),
    "16_bit_of_8_bit_levels": (".png", encoded(SOFT.astype(np.uint16)), SEVERAL, SOFT > 128),
    "float64_0_255": (".tif", encoded(two(255, np.float64), ".tif"), "", MASK),
    "int32_0_1": (".tif", encoded(two(1, np.int32), ".tif"), TWO, MASK),
    "tiff": (".tif", encoded(two(255), ".tif"), "", MASK),
    "fax_tiff": (".tif", by_pillow(Image.fromarray(MASK), "TIFF", compression="group4"), "", MASK),
    "bmp": (".bmp", encoded(two(255), ".bmp"), "", MASK),
    "1_bit_bmp": (".bmp", by_pillow(Image.fromarray(MASK), "BMP"), "", MASK),
    "jpeg": (".jpg", encoded(two(255), ".jpg", *QUALITY), SEVERAL, MASK),
    "jpeg_named_png": (".png", encoded(two(255), ".jpg", *QUALITY), SEVERAL, MASK),
    "empty": (".png", encoded(np.zeros(SIZE, np.uint8)), "", np.zeros(SIZE, bool)),
    "full": (".png", encoded(FULL), "", np.ones(SIZE, bool)),
    "noisy_full": (
        ".png",
        encoded(np.maximum(RAMP, 250)),
        "values of 250 or more, all foreground",
        np.ones(SIZE, bool),
    ),
    # colour, palettes and transparency
    "grey_as_colour": (".png", encoded(colours((255, 255, 255))), "", MASK),
    "red_on_black": (".png", encoded(colours((0, 0, 200))), COLOUR, MASK),
    "palette_black_white": (".png", by_pillow(palette((0, 0, 0), (255, 255, 255))), "", MASK),
    "palette_0_1": (".png", by_pillow(palette((0, 0, 0), (1, 1, 1))), TWO, MASK),
    "palette_red": (".png", by_pillow(palette((0, 0, 0), (128, 0, 0))), COLOUR, MASK),
    "palette_transparent": (
        ".png",
        by_pillow(palette((0, 0, 0), (128, 0, 0)), transparency=0),
        COLOUR,
        MASK,
    ),
    "opaque": (".png", encoded(with_alpha(two(255), FULL)), "", MASK),
    "same_alpha": (".png", encoded(with_alpha(two(255), two(255))), "", MASK),
    "same_soft_alpha": (".png", encoded(with_alpha(SOFT, SOFT)), SEVERAL, SOFT > 128),
    "soft_alpha": (".png", encoded(with_alpha(FULL, SOFT)), f"{ALPHA}; {SEVERAL}", SOFT > 128),
    "grey_and_alpha": (
        ".png",
        by_pillow(Image.merge("LA", [Image.fromarray(FULL), Image.fromarray(two(255))])),
        ALPHA,
        MASK,
    ),
}
NAN = two(1, np.float32)
NAN[0, 0] = np.nan
THREE = two(2)
THREE[:6] = 1
# name: (suffix, bytes of the file, words of the refusal)
UNCLEAR = {
    "labels_0_1_2": (".png", encoded(THREE), "0, 1, 2 do not separate foreground from background"),
    "trimap": (".png", encoded(np.where(OTHER, 128, two(255)).astype("u1")), "0, 128, 255 do not"),
    "photograph": (".png", encoded(RAMP), "do not separate foreground from background"),
    "16_bit_labels": (".png", encoded(RAMP.astype(np.uint16) * 9), "do not separate foreground"),
    "1_everywhere": (".png", encoded(np.ones(SIZE, np.uint8)), "values 1 do not separate"),
    "128_everywhere": (".png", encoded(np.full(SIZE, 128, np.uint8)), "values 128 do not separate"),
    "grey_and_white": (".png", encoded(two(255, background=90)), "90, 255 do not separate"),
    "label_colours": (
        ".png",
        by_pillow(palette((0, 0, 0), (128, 0, 0), (0, 128, 0), indices=THREE)),
        "mask of 3 colours",
    ),
    "no_black": (".png", encoded(colours((0, 0, 200), (200, 0, 0))), "mask of 2 colours"),
    "another_alpha": (".png", encoded(with_alpha(two(255), OTHER * FULL)), "its transparency"),
    "alpha_of_a_photograph": (".png", encoded(with_alpha(FULL, RAMP)), "do not separate"),
    "float_ramp": (".tif", encoded(RAMP / np.float32(255), ".tif"), "float32 mask must have two"),
    "float_nan": (".tif", encoded(NAN, ".tif"), "float32 mask must have two"),
    "cut_png": (".png", encoded(two(255))[:-20], "is cut short"),
    "cut_jpeg": (".jpg", encoded(two(255), ".jpg")[:-20], "is cut short"),
    "damaged_png": (".png", encoded(RAMP)[:60] + b"\xff" + encoded(RAMP)[61:], "is damaged"),
    "text": (".png", b"no image", "is not a PNG"),
    "nothing": (".png", b"", "is empty"),
    "webp_named_png": (".png", encoded(two(255), ".webp"), "is not a PNG"),
    "gif_named_png": (".png", by_pillow(Image.fromarray(two(255)), "GIF"), "is not a PNG"),
}


def make_bench(root, cases, maps):
    """A set of which every ground truth is one case, with a map of each."""
    for folder in ("data/FORMATS/RGB", "data/FORMATS/GT", "maps/exact/FORMATS"):
        (root / folder).mkdir(parents=True)
    for seed, name in enumerate(cases):
        suffix, content, *_ = cases[name]
        noise = np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        (root / f"data/FORMATS/RGB/{name}.png").write_bytes(encoded(noise))
        (root / f"data/FORMATS/GT/{name}{suffix}").write_bytes(content)
        (root / f"maps/exact/FORMATS/{name}.png").write_bytes(encoded(maps(name)))
    return root


@pytest.fixture(scope="module")
def clear(tmp_path_factory):
    exact = {name: mask.astype(np.uint8) * 255 for name, (*_, mask) in CLEAR.items()}
    return make_bench(tmp_path_factory.mktemp("clear"), CLEAR, exact.get)


@pytest.fixture(scope="module")
def notes():
    """How many masks of the table are understood in each unusual way."""
    found = [note for _, _, note, _ in CLEAR.values() if note]
    return {note: found.count(note) for note in found}


def folders(bench):
    return "--data", bench / "data", "--maps", bench / "maps"


@pytest.mark.parametrize("name", CLEAR)
def test_read_mask_clear_file_gives_mask_and_note(clear, name):
    suffix, _, note, mask = CLEAR[name]
    read = read_mask(clear / f"data/FORMATS/GT/{name}{suffix}")
    np.testing.assert_array_equal(read.foreground, mask)
    assert read.note == note


def test_check_data_clear_masks_are_noted_alike(clear, notes, tmp_path):
    path = tmp_path / "check.json"
    run_tool("check_data", "--data", clear / "data", "--workers", 1, "--json", path)
    found = json.loads(path.read_text())
    assert found["sets"][0]["gt_notes"] == notes
    assert {f["kind"] for f in found["findings"] if f["level"] == "problem"} == {
        "empty gt",
        "full gt",
    }


def test_evaluate_clear_masks_score_as_their_own_map(clear, notes, tmp_path):
    done = run_tool("evaluate", *folders(clear), "--output", tmp_path, "--workers", 1)
    assert done.status == 0, done.error
    rows = list(csv.DictReader((tmp_path / "per_image.csv").open()))
    assert {row["image"]: float(row["mae"]) for row in rows} == dict.fromkeys(CLEAR, 0.0)
    for note, count in notes.items():
        assert f"FORMATS: {counted(count, 'ground truth')}, e.g. " in done.output
        assert f": {note}\n" in done.output


def test_gallery_clear_masks_score_as_their_own_map(clear, notes, tmp_path):
    done = run_tool("gallery", *folders(clear), "--output", tmp_path / "g", "--workers", 1)
    assert done.status == 0, done.error
    images = page_data(tmp_path / "g")["images"]
    assert {image["stem"] for image in images} == set(CLEAR)
    assert all(0.0 in image["maps"][0]["scores"] for image in images)  # the MAE
    for note, count in notes.items():
        assert f"FORMATS: {counted(count, 'ground truth')}, e.g. " in done.output
        assert f": {note}\n" in done.output


def test_train_clear_masks_are_noted_alike(clear, notes, tmp_path):
    options = ("--train-sets", "FORMATS", "--epochs", 1, "--holdout", 0)
    done = train_small(tmp_path / "run", clear / "data", *options)
    assert done.status == 0, done.error
    for note, count in notes.items():
        assert f"FORMATS: {count} mask{'s' * (count > 1)}, e.g. " in done.output
        assert f": {note}\n" in done.output


def test_training_images_clear_masks_are_the_same(clear):
    dataset = SodDataset(discover_sets([clear / "data"], None), SIZE)
    for item in dataset:
        mask = CLEAR[item["name"].removeprefix("FORMATS/")][3]
        np.testing.assert_array_equal(item["gt"][0].numpy(), mask)


@pytest.fixture
def unclear(tmp_path, request):
    """A set of one refused mask, and what the reader says of it."""
    bench = make_bench(tmp_path, {request.param: UNCLEAR[request.param]}, lambda _: two(255))
    (path,) = (bench / "data/FORMATS/GT").iterdir()
    with pytest.raises(InputError, match=UNCLEAR[request.param][2]) as caught:
        read_mask(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    return bench, str(caught.value)


@pytest.mark.parametrize("unclear", UNCLEAR, indirect=True)
def test_unclear_mask_is_refused_alike_by_all_four(unclear, tmp_path):
    bench, message = unclear
    path, _, reason = message.partition(": ")
    checked = run_tool("check_data", "--data", bench / "data", "--workers", 1)
    assert checked.status == 1 and reason in checked.output and path in checked.output
    scored = run_tool("evaluate", *folders(bench), "--output", tmp_path / "out", "--workers", 1)
    assert message in error_line(scored)
    shown = run_tool("gallery", *folders(bench), "--output", tmp_path / "g", "--workers", 1)
    assert shown.status == 2 and message in shown.error
    trained = train_small(tmp_path / "run", bench / "data", "--train-sets", "FORMATS")
    assert message in error_line(trained)
