"""Pictures that users bring: every format a camera or the web has, and those that are refused."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging import photos
from mutualformer_sod.imaging.io import read_rgb
from mutualformer_sod.imaging.photos import read_photo

SIZE = (24, 40)
ORIENTATION = 0x112


@pytest.fixture
def rgb() -> np.ndarray:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.stack([6 * x, 10 * y, 3 * (x + y)], axis=2).astype(np.uint8)


def save(path, rgb, mode=None, **options):
    image = Image.fromarray(rgb)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "ppm"])
def test_lossless_formats_give_their_pixels(tmp_path, rgb, suffix):
    path = save(tmp_path / f"a.{suffix}", rgb, **({"lossless": True} if suffix == "webp" else {}))
    photo = read_photo(path)
    assert np.array_equal(photo.rgb, rgb)
    assert (photo.native_size, photo.opacity, photo.notes) == (SIZE, None, ())


def test_ordinary_jpeg_is_read_as_the_benchmarks_files_are(tmp_path, rgb):
    path = save(tmp_path / "a.jpg", rgb)
    assert np.array_equal(read_photo(path).rgb, read_rgb(path))


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "I;16", "I"])
def test_other_modes_become_rgb(tmp_path, rgb, mode):
    grey = rgb[..., 0]
    if mode.startswith("I"):
        wide = grey.astype(np.uint16 if mode == "I;16" else np.int32) * 257
        path, want = save(tmp_path / "a.tif", wide), np.dstack([grey] * 3)
    else:
        path = save(tmp_path / ("a.jpg" if mode == "CMYK" else "a.png"), rgb, mode)
        want = np.asarray(Image.fromarray(rgb).convert(mode).convert("RGB"))
    photo = read_photo(path)
    assert photo.rgb.dtype == np.uint8
    assert np.abs(photo.rgb.astype(int) - want).max() <= (12 if mode == "CMYK" else 0)


def test_16_bit_colour_is_cut_to_8_bits(tmp_path, rgb):
    cv2.imwrite(str(tmp_path / "a.png"), rgb[..., ::-1].astype(np.uint16) * 257)
    assert np.array_equal(read_photo(tmp_path / "a.png").rgb, rgb)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("tag", range(1, 9))
def test_orientation_is_applied(tmp_path, rgb, suffix, tag):
    stored = Image.fromarray(rgb)
    exif = Image.Exif()
    exif[ORIENTATION] = tag
    options = {"tiffinfo": {ORIENTATION: tag}} if suffix == "tif" else {"exif": exif}
    stored.save(tmp_path / f"a.{suffix}", **options)
    how = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # Image.Transpose
    want = np.asarray(stored.transpose(how[tag]) if tag > 1 else stored)
    photo = read_photo(tmp_path / f"a.{suffix}")
    assert photo.native_size == photo.rgb.shape[:2] == want.shape[:2]
    assert np.abs(photo.rgb.astype(int) - want).mean() < 8  # a turn the wrong way: above 30


def with_chunk(png: bytes, kind: bytes, body: bytes, *, damaged=False, last=False) -> bytes:
    """Add a chunk behind the header of a PNG, or before its end."""
    checksum = zlib.crc32(kind + body) ^ damaged
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)
    place = len(png) - 12 if last else 33
    return png[:place] + chunk + png[place:]


ODD_CHUNKS = {
    "damaged": (b"pHYs", bytes(9), {"damaged": True}),
    "damaged at the end": (b"tEXt", b"a\0b", {"damaged": True, "last": True}),
    "too short": (b"pHYs", bytes(5), {}),
    "too short at the end": (b"sRGB", b"", {"last": True}),
    "profile of no method": (b"iCCP", b"a\0\7", {}),
    "huge text": (b"zTXt", b"a\0\0" + zlib.compress(bytes(2 * 10**6)), {}),
    "huge text at the end": (b"zTXt", b"a\0\0" + zlib.compress(bytes(2 * 10**6)), {"last": True}),
}


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA"])
@pytest.mark.parametrize("odd", ODD_CHUNKS)
def test_png_of_odd_notes_is_read_as_the_benchmarks_files_are(tmp_path, rgb, odd, mode):
    exif = Image.Exif()
    exif[ORIENTATION] = 1
    path = save(tmp_path / "a.png", rgb, mode, exif=exif)
    kind, body, place = ODD_CHUNKS[odd]
    path.write_bytes(with_chunk(path.read_bytes(), kind, body, **place))
    assert np.array_equal(read_photo(path).rgb, read_rgb(path))


def test_png_with_a_damaged_note_is_turned_by_its_tag_all_the_same(tmp_path, rgb):
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    path = save(tmp_path / "a.png", rgb, exif=exif)
    path.write_bytes(with_chunk(path.read_bytes(), b"pHYs", bytes(9), damaged=True))
    assert np.array_equal(read_photo(path).rgb, rgb[::-1, ::-1])


def test_png_of_damaged_pixels_is_refused_in_the_benchmarks_words(tmp_path, rgb):
    path = save(tmp_path / "a.png", rgb)
    data = bytearray(path.read_bytes())
    data[29] ^= 1  # the header's checksum
    path.write_bytes(data)
    for read in (read_rgb, read_photo):
        with pytest.raises(InputError, match=r"a\.png: the file is damaged \(wrong checksum\)"):
            read(path)


@pytest.mark.parametrize("kind", ["RGBA", "LA", "palette", "key"])
def test_transparent_pixels_are_seen_on_white(tmp_path, kind):
    path = tmp_path / "a.png"
    if kind == "palette":
        image = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
        image.putpalette([9, 9, 9, 80, 80, 80])
        image.save(path, transparency=0)
    elif kind == "key":
        values = np.array([[[9, 9, 9], [80, 80, 80]]], np.uint8)
        Image.fromarray(values).save(path, transparency=(9, 9, 9))
    else:
        values = np.array([[[9, 9, 9, 0], [80, 80, 80, 255]]], np.uint8)
        Image.fromarray(values).convert(kind).save(path)
    photo = read_photo(path)
    assert photo.rgb.tolist() == [[[255] * 3, [80] * 3]]
    assert photo.colours.tolist() == [[[9] * 3, [80] * 3]]
    assert photo.opacity.tolist() == [[0, 255]]


def test_half_transparency_is_blended(tmp_path):
    Image.fromarray(np.array([[[0, 100, 200, 102]]], np.uint8)).save(tmp_path / "a.png")
    assert read_photo(tmp_path / "a.png").rgb.tolist() == [[[153, 193, 233]]]


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_of_an_animation_the_first_frame_is_taken(tmp_path, suffix):
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **options)
    photo = read_photo(tmp_path / f"a.{suffix}")
    assert photo.rgb[0, 0].tolist() == [255, 0, 0]
    assert photo.notes == ("the first of 2 frames",)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1)])
@pytest.mark.parametrize("suffix", ["png", "jpg", "gif"])
def test_smallest_pictures_are_read(tmp_path, size, suffix):
    save(tmp_path / f"a.{suffix}", np.full((*size, 3), 7, np.uint8))
    assert read_photo(tmp_path / f"a.{suffix}").rgb.shape == (*size, 3)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "webp", "tif", "bmp"])
def test_truncated_files_are_named(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (60, 70, 3), dtype=np.uint8)
    whole = save(tmp_path / f"whole.{suffix}", noise).read_bytes()
    path = tmp_path / f"cut.{suffix}"
    for length in (5, 30, len(whole) // 3, len(whole) - 200):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=rf"cut\.{suffix}: .*") as caught:
            read_photo(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.jpg", b"", "empty"),
        ("a.jpg", b"hello, I am no picture\n", "text"),
        ("a.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC .* convert"),
        ("a.avif", b"\0\0\0\x18ftypavif\0\0\0\0mif1", "AVIF .* convert"),
        ("a.jpg", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        ("a.mp4", b"\0\0\0\x18ftypisom\0\0\0\0", "--video"),
        ("a.cr2", b"II*\0\x10\0\0\0CR\x02\0", "raw file .* develop"),
        ("a.dng", b"MM\0*\0\0\0\x08", "raw file"),
        ("a.svg", b"<?xml version='1.0'?>\n<svg xmlns='x'/>", "SVG .* render"),
        ("a.pdf", b"%PDF-1.7\n", "PDF"),
        ("a.bin", bytes(range(256)), "not a picture"),
    ],
)
def test_read_photo_unreadable_file_is_refused_with_the_remedy(tmp_path, name, data, words):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=f"{name}: .*{words}"):
        read_photo(tmp_path / name)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK"])
def test_bands_change_nothing(tmp_path, rgb, monkeypatch, mode):
    path = save(tmp_path / ("a.tif" if mode == "CMYK" else "a.webp"), rgb, mode)
    path = path if mode != "P" else save(tmp_path / "a.png", rgb, mode)
    whole = read_photo(path).rgb
    monkeypatch.setattr(photos, "BAND_PIXELS", 5 * SIZE[1])
    assert np.array_equal(read_photo(path).rgb, whole)
    monkeypatch.setattr(photos, "FULL_PIXELS", SIZE[0] * SIZE[1] // 3)
    smaller = read_photo(path).rgb
    want = np.asarray(Image.fromarray(whole).reduce(2))
    assert np.abs(smaller.astype(int) - want).max() <= 1


def test_tiff_of_a_damaged_second_page_is_named(tmp_path, rgb):
    path = tmp_path / "a.tif"
    page = Image.fromarray(rgb)
    page.save(path, save_all=True, append_images=[page])
    data = path.read_bytes()
    width = struct.pack("<HH", 256, 4)  # tag and type
    assert data.count(width) == 2
    path.write_bytes(data[: data.rindex(width)] + bytes(2) + data[data.rindex(width) + 2 :])
    with pytest.raises(InputError, match=r"a\.tif: the header is damaged"):
        read_photo(path)


def test_missing_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(InputError, match=path.name):
            read_photo(path)


def test_decompression_bomb_is_refused_by_its_header(tmp_path):
    buffer = io.BytesIO()
    Image.new("1", (8, 8)).save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    data[16:24] = struct.pack(">II", 60000, 60000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    (tmp_path / "bomb.png").write_bytes(data)
    with pytest.raises(InputError, match=r"bomb\.png: 60000 x 60000 .* megapixels"):
        read_photo(tmp_path / "bomb.png")


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_huge_pictures_are_read_smaller(tmp_path, rgb, monkeypatch, suffix):
    big = np.repeat(np.repeat(rgb, 8, axis=0), 8, axis=1)
    path = save(tmp_path / f"a.{suffix}", big)
    monkeypatch.setattr(photos, "FULL_PIXELS", big.shape[0] * big.shape[1] // 10)
    photo = read_photo(path)
    assert photo.native_size == big.shape[:2]
    assert photo.rgb.shape[0] * photo.rgb.shape[1] <= photos.FULL_PIXELS
    assert "huge" in photo.notes[0]
    small = np.asarray(Image.fromarray(big).resize(photo.rgb.shape[1::-1], Image.Resampling.BOX))
    assert np.abs(photo.rgb.astype(int) - small).mean() < 8
