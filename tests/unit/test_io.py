"""Reading colour images, depth maps and masks in every coding met in the field; writing maps."""

import struct
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image

from mutualformer_sod.data.sample import Sample, read_sample
from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging.decoding import decode
from mutualformer_sod.imaging.io import image_size, read_depth, read_gt, read_rgb, write_map
from mutualformer_sod.imaging.photos import read_photo

SIZE = (12, 17)
listens = pytest.mark.skipif(sys.platform != "linux", reason="C prints as ever without glibc")


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def save(path, image):
    assert cv2.imwrite(str(path), image)
    return path


def save_palette(path, indices, palette):
    """Write an indexed PNG, which cv2 cannot."""
    image = Image.fromarray(indices.astype(np.uint8))
    image.putpalette(np.asarray(palette, np.uint8).tobytes())
    image.save(path)
    return path


def with_orientation_tag(jpeg: bytes) -> bytes:
    """Add an EXIF segment that asks viewers to turn the picture by 90 degrees."""
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<H", 1) + struct.pack("<HHIHH", 0x112, 3, 1, 6, 0)
    body = b"Exif\0\0" + tiff + b"\0\0\0\0"
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


# Colour images


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".TIFF"])
def test_rgb_comes_in_rgb_order(tmp_path, noise, suffix):
    path = save(tmp_path / f"a{suffix}", noise)
    assert np.array_equal(read_rgb(path), noise[..., ::-1])


def test_grey_rgb_is_repeated(tmp_path, noise):
    path = save(tmp_path / "a.png", noise[..., 0])
    assert np.array_equal(read_rgb(path), np.repeat(noise[..., :1], 3, axis=2))


def test_alpha_of_rgb_is_dropped_not_blended(tmp_path, noise):
    path = save(tmp_path / "a.png", np.dstack([noise, noise[..., 0]]))
    assert np.array_equal(read_rgb(path), noise[..., ::-1])


def test_palette_of_rgb_is_applied(tmp_path):
    indices = np.arange(6).reshape(2, 3) % 2
    path = save_palette(tmp_path / "a.png", indices, [[10, 20, 30], [40, 50, 60]])
    assert read_rgb(path)[0, :2].tolist() == [[10, 20, 30], [40, 50, 60]]


def test_orientation_tag_is_ignored(tmp_path, noise):
    path = save(tmp_path / "a.jpg", noise)
    plain = read_rgb(path)
    path.write_bytes(with_orientation_tag(path.read_bytes()))
    assert cv2.imread(str(path)).shape[:2] == SIZE[::-1]  # the tag works
    assert np.array_equal(read_rgb(path), plain)
    assert image_size(path) == SIZE


def test_jpeg_named_png_is_read(tmp_path, noise):
    path = save(tmp_path / "a.jpg", noise)
    assert read_rgb(path.rename(tmp_path / "a.png")).shape == (*SIZE, 3)


def test_16_bit_rgb_is_refused(tmp_path, noise):
    path = save(tmp_path / "a.png", noise.astype(np.uint16) * 257)
    with pytest.raises(InputError, match=r"a\.png: uint16 colour is unsupported\. Fix: convert"):
        read_rgb(path)


# Damaged files


@pytest.mark.parametrize("read", [read_rgb, read_depth, read_gt, image_size])
def test_missing_empty_and_foreign_files_are_named(tmp_path, read):
    with pytest.raises(InputError, match=r"none\.png: no such file"):
        read(tmp_path / "none.png")
    (tmp_path / "zero.png").touch()
    with pytest.raises(InputError, match=r"zero\.png: the file is empty"):
        read(tmp_path / "zero.png")
    (tmp_path / "text.png").write_text("no image at all")
    with pytest.raises(InputError, match=r"text\.png: the file is not a PNG, JPEG, BMP or TIFF"):
        read(tmp_path / "text.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
def test_every_truncation_is_noticed(tmp_path, noise, suffix):
    data = save(tmp_path / f"whole{suffix}", noise).read_bytes()
    path = tmp_path / f"cut{suffix}"
    for length in (3, 9, 20, 60, len(data) // 2, len(data) - 60, len(data) - 2):
        path.write_bytes(data[:length])
        with pytest.raises(InputError, match=rf"cut\{suffix}: .*\. Fix: replace it") as caught:
            read_rgb(path)
        assert "\n" not in str(caught.value)


def test_jpeg_cut_inside_is_noticed_despite_its_thumbnail(tmp_path, noise):
    data = save(tmp_path / "a.jpg", noise).read_bytes()
    thumbnail = b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data  # has an end marker
    path = tmp_path / "cut.jpg"
    path.write_bytes((data[:2] + thumbnail + data[2:])[:-40])
    with pytest.raises(InputError, match=r"cut short"):
        read_rgb(path)


def test_changed_bits_of_a_png_are_noticed(tmp_path, noise):
    path = save(tmp_path / "a.png", noise)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.png: the file is damaged"):
        read_rgb(path)


def test_palette_png_without_its_palette_is_refused(tmp_path, noise):
    path = tmp_path / "a.png"
    Image.fromarray(noise).quantize(16).save(path)
    data = path.read_bytes()
    start = data.index(b"PLTE") - 4
    length = int.from_bytes(data[start : start + 4], "big")
    path.write_bytes(data[:start] + data[start + 12 + length :])
    for read in (read_rgb, read_gt, read_depth):
        with pytest.raises(InputError, match="no palette"):
            read(path)


def test_npy_that_is_a_folder_is_refused_as_unreadable(tmp_path):
    (tmp_path / "a.npy").mkdir()
    with pytest.raises(InputError, match=r"a\.npy: unreadable \(Is a directory\)\. Fix: "):
        read_depth(tmp_path / "a.npy")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".npy"])
def test_no_damage_ends_in_another_error(tmp_path, noise, suffix):
    path = tmp_path / f"a{suffix}"
    np.save(path, noise[..., 0]) if suffix == ".npy" else save(path, noise[..., 0])
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(100):
        data = bytearray(whole)
        start = rng.integers(len(data))
        data[start : start + rng.integers(1, 9)] = rng.bytes(rng.integers(9))
        path.write_bytes(data)
        for read in (read_depth, image_size) if suffix == ".npy" else (read_gt, read_depth):
            try:
                assert read(path) is not None
            except InputError as error:
                refused += "\n" not in str(error)
    assert refused > 20


@pytest.fixture
def jpeg(noise) -> bytes:
    """A JPEG of many bytes, in which a lost end shows."""
    return cv2.imencode(".jpg", cv2.resize(noise, (170, 120)))[1].tobytes()


def early_end(jpeg: bytes) -> bytes:
    return jpeg[: len(jpeg) * 2 // 3] + jpeg[-2:]


@listens
def test_damage_inside_a_jpeg_is_logged_once_with_its_name(tmp_path, jpeg, caplog, capfd):
    path = tmp_path / "a.jpg"
    path.write_bytes(early_end(jpeg))
    assert read_rgb(path).shape == read_rgb(path).shape == (120, 170, 3)
    (line,) = caplog.messages
    assert line.startswith(f"{path}: damaged JPEG data (premature end of data segment): ")
    assert capfd.readouterr() == ("", "")  # none of libjpeg's own


@listens
@pytest.mark.parametrize("behind", [bytes(5000), b"a second picture \xff\xd9"])
@pytest.mark.parametrize("before", [b"", bytes(300)])
def test_jpeg_with_an_odd_end_that_reads_right_is_read_in_silence(
    tmp_path, jpeg, caplog, capfd, before, behind
):
    (tmp_path / "a.jpg").write_bytes(jpeg)
    (tmp_path / "b.jpg").write_bytes(jpeg[:-2] + before + jpeg[-2:] + behind)
    assert np.array_equal(read_rgb(tmp_path / "b.jpg"), read_rgb(tmp_path / "a.jpg"))
    assert not caplog.messages
    assert capfd.readouterr() == ("", "")


@listens
def test_decode_in_many_threads_names_the_damaged_file(jpeg, caplog, capfd):
    files = {f"{k}.jpg": jpeg if k % 3 else early_end(jpeg) for k in range(300)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(decode, files, files.values()))
    named = [line.partition(": ")[0] for line in caplog.messages]
    assert sorted(named) == sorted(name for name, data in files.items() if data != jpeg)
    assert capfd.readouterr() == ("", "")


@listens
def test_stderr_of_c_is_whole_after_decoding(jpeg, capfd):
    decode("a.jpg", early_end(jpeg))
    cv2.imdecode(np.frombuffer(early_end(jpeg), np.uint8), cv2.IMREAD_UNCHANGED)
    assert "premature end of data segment" in capfd.readouterr().err


@listens
@pytest.mark.parametrize(
    ("suffix", "place", "value"),
    [(".png", 25, 7), (".png", 26, 9), (".bmp", 30, 99), (".bmp", 17, 255)],
)
def test_decoders_print_nothing_about_a_damaged_header(
    tmp_path, noise, capfd, suffix, place, value
):
    path = save(tmp_path / f"a{suffix}", noise)
    data = bytearray(path.read_bytes())
    data[place] = value
    if suffix == ".png":
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"a\{suffix}: "):
        read_rgb(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
def test_image_size_agrees_with_the_decoded_image(tmp_path, noise, suffix):
    assert image_size(save(tmp_path / f"a{suffix}", noise)) == SIZE


# Depth


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_depth_comes_as_stored(tmp_path, noise, kind):
    values = noise[..., 0].astype(kind) * (1 if kind is np.uint8 else 257)
    depth = read_depth(save(tmp_path / "a.png", values))
    assert depth.dtype == kind
    assert np.array_equal(depth, values)


@pytest.mark.parametrize("suffix", [".npy", ".tif"])
def test_float_depth_comes_as_stored(tmp_path, suffix):
    values = np.linspace(0, 3, 12, dtype=np.float32).reshape(3, 4)
    values[0, 0] = np.nan
    path = tmp_path / f"a{suffix}"
    np.save(path, values) if suffix == ".npy" else save(path, values)
    depth = read_depth(path)
    assert depth.dtype == np.float32
    assert np.array_equal(depth, values, equal_nan=True)


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.full((3, 4, 1), 0.5, np.float64), np.float32),
        (np.full((3, 4), 0.5, ">f4"), np.float32),
        (np.full((3, 4), 900, np.int32), np.uint16),
        (np.full((3, 4, 3), 9, np.uint8), np.uint8),
        (np.asfortranarray(np.full((3, 4), 9, np.uint16)), np.uint16),
    ],
)
def test_npy_depth_becomes_one_of_three_types(tmp_path, array, dtype):
    np.save(tmp_path / "a.npy", array)
    depth = read_depth(tmp_path / "a.npy")
    assert (depth.shape, depth.dtype, depth.flags.c_contiguous) == ((3, 4), dtype, True)
    assert (depth == array.reshape(3, 4, -1)[..., 0]).all()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 4), bool), "type bool is unsupported for depth"),
        (np.zeros((3, 4), complex), "type complex128 is unsupported for depth"),
        (np.full((3, 4, 1), "x"), "is unsupported for depth"),
        (np.full((3, 4), -1, np.int16), "integer depth from -1"),
        (np.full((3, 4), 70000), "integer depth from 70000"),
        (np.zeros((3, 4, 2)), r"save \(H, W\)"),
        (np.zeros(5), r"must be an \(H, W\) array"),
        (np.zeros((0, 4)), r"save \(H, W\)"),
        (np.array([[None]]), "not a complete .npy array"),
    ],
)
def test_npy_that_is_no_depth_is_refused(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match=rf"a\.npy: .*{message}"):
        read_depth(tmp_path / "a.npy")


def test_npy_of_one_leading_channel_is_read(tmp_path):
    depth = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    np.save(tmp_path / "a.npy", depth)
    assert np.array_equal(read_depth(tmp_path / "a.npy"), depth[0])
    assert image_size(tmp_path / "a.npy") == (3, 4)


@pytest.mark.parametrize("suffix", [".mat", ".npz", ".exr", ".pfm", ".H5"])
def test_containers_of_depth_are_refused_with_the_way_out(tmp_path, suffix):
    (tmp_path / f"a{suffix}").write_bytes(b"x")
    with pytest.raises(InputError, match=rf"a{suffix}: depth in .* Fix: .*numpy\.save"):
        read_depth(tmp_path / f"a{suffix}")


def test_damaged_npy_is_refused(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((9, 9)))
    whole = path.read_bytes()
    odd_header = whole.replace(b"{'descr'", b"((((((((")
    for data in (b"", b"text", whole[:50], whole[:-8], odd_header):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"a\.npy: not a complete \.npy array"):
            read_depth(path)


def test_equal_channels_of_depth_become_one(tmp_path, noise):
    grey = np.repeat(noise[..., :1], 3, axis=2)
    alpha = np.full((*SIZE, 1), 255, np.uint8)
    for image in (grey, np.dstack([grey, alpha])):
        assert np.array_equal(read_depth(save(tmp_path / "a.png", image)), noise[..., 0])


def test_colour_noise_of_a_jpeg_is_no_colour(tmp_path):
    ramp = np.tile(np.arange(0, 250, 5, dtype=np.uint8), (40, 1))
    tinted = np.dstack([ramp, ramp, ramp + 4])
    depth = read_depth(save(tmp_path / "a.png", tinted))
    assert np.abs(depth.astype(int) - ramp).max() <= 4


def test_colour_coded_depth_is_refused(tmp_path, noise):
    ramp = np.tile(np.arange(0, 250, 5, dtype=np.uint8), (40, 1))
    path = save(tmp_path / "jet.png", cv2.applyColorMap(ramp, cv2.COLORMAP_JET))
    with pytest.raises(InputError, match=r"jet\.png: colour-coded depth and HHA are unsupported"):
        read_depth(path)


def test_depth_with_varying_transparency_is_refused(tmp_path, noise):
    image = np.dstack([np.repeat(noise[..., :1], 3, axis=2), noise[..., 1]])
    with pytest.raises(InputError, match=r"a\.png: its transparency varies"):
        read_depth(save(tmp_path / "a.png", image))


# Ground truth

DISC = cv2.circle(np.zeros((60, 80), np.uint8), (40, 30), 20, 1, -1).astype(bool)


@pytest.mark.parametrize("value", [1, 2, 128, 153, 255])
def test_two_values_with_zero_are_a_mask(tmp_path, value):
    path = save(tmp_path / "a.png", DISC.astype(np.uint8) * np.uint8(value))
    assert np.array_equal(read_gt(path), DISC)


def test_16_bit_and_1_bit_masks_are_read(tmp_path):
    assert np.array_equal(read_gt(save(tmp_path / "a.png", DISC.astype(np.uint16) * 65535)), DISC)
    path = tmp_path / "b.png"
    cv2.imwrite(str(path), DISC.astype(np.uint8) * 255, [cv2.IMWRITE_PNG_BILEVEL, 1])
    assert np.array_equal(read_gt(path), DISC)


@pytest.mark.parametrize("value", [0, 255])
def test_empty_and_full_masks_are_read(tmp_path, value):
    path = save(tmp_path / "a.png", np.full((5, 6), value, np.uint8))
    assert (read_gt(path) == bool(value)).all()


def test_noisy_jpeg_masks_are_thresholded_above_128(tmp_path):
    image = np.repeat(DISC[..., None], 3, axis=2).astype(np.uint8) * 255
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 60])
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert len(np.unique(grey)) > 2
    assert np.array_equal(read_gt(path), grey > 128)


def test_smoothed_edges_are_thresholded_above_128(tmp_path):
    smooth = cv2.resize(DISC.astype(np.uint8) * 255, (53, 41), interpolation=cv2.INTER_AREA)
    assert np.array_equal(read_gt(save(tmp_path / "a.png", smooth)), smooth > 128)


def test_two_colours_with_black_are_a_mask(tmp_path):
    path = save_palette(tmp_path / "a.png", DISC, [[0, 0, 0], [128, 0, 0]])
    assert np.array_equal(read_gt(path), DISC)


def test_constant_or_agreeing_transparency_of_a_mask_is_dropped(tmp_path):
    white = np.repeat(DISC[..., None], 3, axis=2).astype(np.uint8) * 255
    for alpha in (np.full(DISC.shape, 255, np.uint8), white[..., 0]):
        assert np.array_equal(read_gt(save(tmp_path / "a.png", np.dstack([white, alpha]))), DISC)
    with pytest.raises(InputError, match=r"a\.png: its transparency and its colours"):
        read_gt(save(tmp_path / "a.png", np.dstack([white, 255 - white[..., 0]])))


@pytest.mark.parametrize(
    "values",
    [
        [0, 1, 2],
        [0, 128, 255],
        [1, 2],
        [128],
        [1],
        list(range(256)),
        [0, 100, 1000],
        [100, 300],
    ],
    ids=str,
)
def test_masks_that_can_be_understood_in_two_ways_are_refused(tmp_path, values):
    kind = np.uint16 if max(values) > 255 else np.uint8
    image = np.resize(np.array(values, kind), (24, 32))
    with pytest.raises(InputError, match=r"a\.png: .*save .*as 0 and 255"):
        read_gt(save(tmp_path / "a.png", image))


def test_label_colours_are_refused(tmp_path):
    indices = np.arange(60).reshape(6, 10) % 3
    path = save_palette(tmp_path / "a.png", indices, [[0, 0, 0], [128, 0, 0], [0, 128, 0]])
    with pytest.raises(InputError, match=r"a\.png: a mask of 3 colours"):
        read_gt(path)


def test_photograph_is_no_mask(tmp_path, noise):
    with pytest.raises(InputError, match=r"a\.png: "):
        read_gt(save(tmp_path / "a.png", noise))


# Samples


def make_sample(folder, gt_size=SIZE, depth=None) -> Sample:
    rgb = save(folder / "rgb.png", np.zeros((*SIZE, 3), np.uint8))
    gt = save(folder / "gt.png", np.full(gt_size, 255, np.uint8))
    depth = save(folder / "depth.png", depth) if depth is not None else None
    return Sample("a", rgb, depth, gt)


def test_depth_of_another_size_is_resized_without_inventing_values(tmp_path):
    half = np.zeros((6, 8), np.uint16)
    half[2:4, 3:6] = 5000
    rgb, depth, gt = read_sample(make_sample(tmp_path, depth=half))
    assert rgb.shape[:2] == depth.shape == gt.shape == SIZE
    assert set(np.unique(depth)) == {0, 5000}
    rows, columns = np.nonzero(depth)
    assert (rows.min(), rows.max()) == (4, 7)  # 12 / 6 rows to one
    assert columns.mean() == pytest.approx(4.5 * 17 / 8 - 0.5, abs=0.5)


def test_ground_truth_of_another_size_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"gt\.png: 8 x 6 pixels, but .*rgb\.png has 17 x 12"):
        read_sample(make_sample(tmp_path, gt_size=(6, 8)))


def test_absent_parts_are_none(tmp_path):
    sample = make_sample(tmp_path)
    assert read_sample(sample)[1] is None
    rgb, depth, gt = read_sample(Sample("a", None, None, sample.gt))
    assert (rgb, depth, gt.shape) == (None, None, SIZE)


# Maps


def test_maps_are_rounded_half_to_even(tmp_path):
    values = np.array([[0.0, 1.0, 0.5 / 255, 1.5 / 255, 2.4999 / 255, 0.1]])
    write_map(tmp_path / "new/folder/a.png", values)
    stored = cv2.imread(str(tmp_path / "new/folder/a.png"), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint8
    assert stored.tolist() == [[0, 255, 0, 2, 2, 26]]


def test_every_8_bit_value_survives_a_float32_map(tmp_path):
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    write_map(tmp_path / "a.png", values.astype(np.float32) / 255)
    assert np.array_equal(cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED), values)


def test_nothing_but_the_map_is_left_in_the_folder(tmp_path):
    write_map(tmp_path / "a.png", np.zeros((2, 3)))
    write_map(tmp_path / "a.png", np.ones((2, 3)))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    "bad", [np.full((2, 3), np.nan), np.full((2, 3), 1.1), np.zeros((1, 2, 3))]
)
def test_arrays_that_are_no_map_are_refused(tmp_path, bad):
    with pytest.raises(ValueError, match=r"a\.png"):
        write_map(tmp_path / "a.png", bad)
    assert not list(tmp_path.iterdir())


def _with_chunk(path, kind, content, checksum=None):
    """Put a chunk behind a PNG's header."""
    data = path.read_bytes()
    checksum = zlib.crc32(kind + content) if checksum is None else checksum
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
    path.write_bytes(data[:33] + chunk + data[33:])


@pytest.mark.parametrize(
    ("kind", "content", "checksum"),
    [
        (b"iCCP", b"x\0\0abc", None),
        (b"sRGB", b"\x09", None),
        (b"pHYs", b"1", None),
        (b"tEXt", b"a\0b", 0),
        (b"tRNS", b"\0\0\0", None),
        (b"tRNS", b"\0" * 6, 0),
    ],
)
def test_odd_chunks_of_a_png_change_nothing_and_print_nothing(
    tmp_path, capfd, kind, content, checksum
):
    path = tmp_path / "a.png"
    rgb = np.random.default_rng(0).integers(0, 256, (12, 17, 3), np.uint8)
    assert cv2.imwrite(str(path), rgb[..., ::-1])
    _with_chunk(path, kind, content, checksum)
    assert np.array_equal(read_rgb(path), rgb)
    assert capfd.readouterr() == ("", "")


def test_transparency_of_a_png_is_kept(tmp_path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.tile(np.arange(8, dtype=np.uint8)[:, None] * 30, (8, 1, 3)))
    _with_chunk(path, b"tRNS", b"\0\x1e" * 3)
    _with_chunk(path, b"sRGB", b"\0")
    alone = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    assert alone.shape == (8, 8, 4)
    assert np.array_equal(decode(path, path.read_bytes()), alone)


def test_corrupt_metadata_of_a_photo_print_nothing(tmp_path, capfd, recwarn):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))
    _with_chunk(path, b"eXIf", b"MM\0*\0\0\0\x08\xff\xff\0\0\0")
    assert read_photo(path).orientation == 1
    assert not recwarn.list
    assert capfd.readouterr() == ("", "")
