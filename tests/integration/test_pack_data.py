"""tools/pack_data.py: sets packed here are the same sets there."""

import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from tool_runs import error_line, run_tool

from mutualformer_sod.data.depth.polarity import encodings_by_name, with_encodings
from mutualformer_sod.data.discovery.sets import discover_sets
from mutualformer_sod.imaging.io import read_depth, read_gt, read_rgb

SIDE = 96
SETS = ("train_rgb/FLAT", "train_rgbd/MM", "train_rgbd/METRES", "train_rgbd/WHITE")


def write_metric(folder: Path, source: Path, scale: float, suffix: str) -> None:
    """A copy of the scenes with depth as distances, and a hole in each map."""
    for part in ("RGB", "GT"):
        shutil.copytree(source / part, folder / part)
    (folder / "depth").mkdir()
    for path in (source / "depth").iterdir():
        distance = (600 + 4.0 * (255 - read_depth(path))) * scale
        distance[:20, :30] = 0
        target = folder / "depth" / f"{path.stem}{suffix}"
        if suffix == ".npy":
            np.save(target, distance.astype(np.float32))
        else:
            cv2.imwrite(str(target), distance.astype(np.uint16))


@pytest.fixture(scope="module")
def originals(tmp_path_factory, scenes):
    """Scenes with 8-bit, millimetre, metre and no depth."""
    root, source = tmp_path_factory.mktemp("originals"), scenes / "SAMPLES"
    for part in ("RGB", "GT"):
        shutil.copytree(source / part, root / "train_rgb" / "FLAT" / part)
    shutil.copytree(source, root / "train_rgbd" / "WHITE")
    write_metric(root / "train_rgbd" / "MM", source, 1, ".png")
    write_metric(root / "train_rgbd" / "METRES", source, 1e-3, ".npy")
    return root


@pytest.fixture(scope="module")
def pack(tmp_path_factory, originals):
    folder = tmp_path_factory.mktemp("carried") / "pack"
    done = run_tool(
        "pack_data",
        *("--data", originals, "--sets", *SETS, "--side", SIDE, "--output", folder),
        *("--shard-mb", 0.25, "--workers", 1),
    )
    assert done.status == 0, done.error
    return folder


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory, pack):
    root = tmp_path_factory.mktemp("there") / "root"
    done = run_tool("pack_data", "--unpack", pack, "--output", root)
    assert done.status == 0, done.error
    assert "WARNING" not in done.output
    return root


def copy_of(folder: Path, target: Path) -> Path:
    return Path(shutil.copytree(folder, target))


def write_tar(pack: Path, name: str, *, kind: bytes = tarfile.REGTYPE) -> None:
    """Make the pack's first shard hold one member, under a checksum that agrees."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size, member.type, member.linkname = 3 * (kind == tarfile.REGTYPE), kind, "/etc"
        tar.addfile(member, io.BytesIO(b"bad"))
    path = pack / "shard_0000.tar"
    path.write_bytes(buffer.getvalue())
    index = json.loads((pack / "index.json").read_text())
    index["shards"][0]["sha256"] = hashlib.sha256(buffer.getvalue()).hexdigest()
    (pack / "index.json").write_text(json.dumps(index))


def test_discovery_finds_the_same_sets_by_the_same_paths(originals, unpacked):
    before = discover_sets([originals], SETS, split="train")
    after = discover_sets([unpacked], SETS, split="train")
    assert [s.name for s in after] == [s.name for s in before]
    for one, other in zip(before, after, strict=True):
        assert [t.stem for t in other.samples] == [t.stem for t in one.samples]
        assert (other.has_depth, other.has_gt) == (one.has_depth, one.has_gt)


def test_depth_is_understood_as_before(originals, unpacked):
    before, after = (
        {n: (e.kind, e.near) for n, e in encodings_by_name(with_encodings(found)).items()}
        for found in (discover_sets([r], SETS, split="train") for r in (originals, unpacked))
    )
    assert before == after
    assert {kind for kind, _ in after.values()} == {"map", "metric"}


def test_no_side_exceeds_the_bound_and_the_shape_is_kept(unpacked):
    paths = list(unpacked.rglob("RGB/*.jpg"))
    assert len(paths) == 48
    assert {read_rgb(path).shape for path in paths} == {(72, SIDE, 3)}


def test_depth_keeps_its_type_and_values(originals, unpacked):
    for name, suffix in (("MM", ".png"), ("METRES", ".npy"), ("WHITE", ".png")):
        for path in (unpacked / "train_rgbd" / name / "depth").iterdir():
            small = read_depth(path)
            large = read_depth(originals / "train_rgbd" / name / "depth" / f"{path.stem}{suffix}")
            assert small.dtype == large.dtype
            assert np.isin(small, large).all()
            assert small.shape == (72, SIDE)


def test_parts_of_an_image_stay_aligned(originals, unpacked):
    for path in (unpacked / "train_rgbd" / "WHITE" / "GT").iterdir():
        small = read_gt(path)
        large = read_gt(originals / "train_rgbd" / "WHITE" / "GT" / path.name)
        enlarged = cv2.resize(small.astype(np.uint8), large.shape[::-1], interpolation=0) > 0
        assert (enlarged & large).sum() / (enlarged | large).sum() > 0.85
        colour = originals / "train_rgbd" / "WHITE" / "RGB" / path.name
        shrunk = cv2.resize(read_rgb(colour), (SIDE, 72), interpolation=cv2.INTER_AREA)
        packed = read_rgb(path.parents[1] / "RGB" / f"{path.stem}.jpg")
        assert np.abs(packed.astype(int) - shrunk).mean() < 12


def test_no_shard_exceeds_its_bound(pack):
    index = json.loads((pack / "index.json").read_text())
    shards = sorted(pack.glob("*.tar"))
    assert len(shards) == len(index["shards"]) > 1
    assert [s["bytes"] for s in index["shards"]] == [path.stat().st_size for path in shards]
    assert max(path.stat().st_size for path in shards) <= 0.25 * 2**20


def test_same_pack_has_the_same_bytes(originals, pack, tmp_path):
    run_tool(
        "pack_data",
        *("--data", originals, "--sets", *SETS, "--side", SIDE, "--output", tmp_path),
        *("--shard-mb", 0.25, "--workers", 2),
    )
    assert (tmp_path / "index.json").read_text() == (pack / "index.json").read_text()


def test_share_is_evenly_spaced_and_seeded(originals, tmp_path):
    stems = set()
    for seed in range(6):
        folder = tmp_path / str(seed)
        options = ("--side", 64, "--share", 0.25, "--seed", seed, "--output", folder)
        run_tool("pack_data", "--data", originals, "--sets", SETS[0], *options)
        index = json.loads((folder / "index.json").read_text())
        assert (index["sets"][SETS[0]]["images"], index["sets"][SETS[0]]["of"]) == (3, 12)
        with tarfile.open(folder / "shard_0000.tar") as tar:
            own = tuple(Path(n).stem for n in tar.getnames() if "/RGB/" in n)
        numbers = [int(stem.split("_")[1]) for stem in own]
        assert set(np.diff(numbers)) == {4}
        stems.add(own)
    assert len(stems) > 1


def test_hair_of_a_mask_does_not_vanish(originals, tmp_path):
    folder = tmp_path / "in" / "THIN"
    shutil.copytree(originals / "train_rgb" / "FLAT", folder)
    path = next((folder / "GT").iterdir())
    hair = np.zeros(read_gt(path).shape, np.uint8)
    hair[:, 100] = 255
    cv2.imwrite(str(path), hair)
    run_tool("pack_data", "--data", tmp_path / "in", "--side", 64, "--output", tmp_path / "pack")
    run_tool("pack_data", "--unpack", tmp_path / "pack", "--output", tmp_path / "out")
    assert read_gt(tmp_path / "out" / "THIN" / "GT" / path.name).any()


def test_damaged_shard_and_a_missing_one_are_named(pack, tmp_path):
    broken = copy_of(pack, tmp_path / "pack")
    data = bytearray((broken / "shard_0001.tar").read_bytes())
    data[2000] ^= 1
    (broken / "shard_0001.tar").write_bytes(data)
    (broken / "shard_0002.tar").unlink()
    done = run_tool("pack_data", "--unpack", broken, "--output", tmp_path / "out")
    line = error_line(done)
    assert "shard_0001.tar is damaged" in line
    assert "shard_0002.tar is missing" in line
    assert "shard_0000" not in line
    assert not (tmp_path / "out").exists()


def test_interrupted_unpacking_goes_on(pack, unpacked, tmp_path):
    root = copy_of(unpacked, tmp_path / "root")
    kept, lost = sorted(root.rglob("*.jpg"))[:2]
    lost.unlink()
    time = kept.stat().st_mtime_ns
    done = run_tool("pack_data", "--unpack", pack, "--output", root)
    assert done.status == 0, done.error
    assert lost.exists()
    assert kept.stat().st_mtime_ns == time


def test_file_of_other_content_is_replaced_only_when_asked(pack, unpacked, tmp_path):
    root = copy_of(unpacked, tmp_path / "root")
    path = next(root.rglob("*.jpg"))
    path.write_bytes(b"mine")
    line = error_line(run_tool("pack_data", "--unpack", pack, "--output", root))
    assert path.name in line
    assert path.read_bytes() == b"mine"
    done = run_tool("pack_data", "--unpack", pack, "--output", root, "--overwrite")
    assert done.status == 0, done.error
    assert path.read_bytes() != b"mine"


def test_images_of_other_origin_in_a_set_are_noticed(pack, unpacked, tmp_path):
    root = copy_of(unpacked, tmp_path / "root")
    for part, suffix in (("RGB", ".jpg"), ("GT", ".png")):
        folder = root / "train_rgb" / "FLAT" / part
        shutil.copy(next(folder.iterdir()), folder / f"another{suffix}")
    line = error_line(run_tool("pack_data", "--unpack", pack, "--output", root))
    assert "13 images, but the pack has 12" in line


@pytest.mark.parametrize(
    "name", ["../out/RGB/a.jpg", "/tmp/out/RGB/a.jpg", "S/RGB/../../../a.jpg", "S/RGB/.a.jpg"]
)
def test_nothing_is_written_outside_the_root(pack, tmp_path, name):
    bad = copy_of(pack, tmp_path / "pack")
    write_tar(bad, name)
    done = run_tool("pack_data", "--unpack", bad, "--output", tmp_path / "root")
    assert "do not use this pack" in error_line(done)
    assert not list(tmp_path.rglob("*a.jpg"))


def test_link_in_a_shard_is_refused(pack, tmp_path):
    bad = copy_of(pack, tmp_path / "pack")
    write_tar(bad, "S/RGB/a.jpg", kind=tarfile.SYMTYPE)
    done = run_tool("pack_data", "--unpack", bad, "--output", tmp_path / "root")
    assert "do not use this pack" in error_line(done)


def test_link_in_the_root_leads_nowhere_else(pack, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "train_rgb").symlink_to(tmp_path / "elsewhere")
    done = run_tool("pack_data", "--unpack", pack, "--output", tmp_path / "root")
    assert "do not use this pack" in error_line(done)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_pack_is_replaced_only_when_asked(originals, pack, tmp_path):
    folder = copy_of(pack, tmp_path / "pack")
    common = ("--data", originals, "--sets", SETS[0], "--side", 64, "--output", folder)
    assert "--overwrite" in error_line(run_tool("pack_data", *common))
    done = run_tool("pack_data", *common, "--overwrite")
    assert done.status == 0, done.error
    assert len(list(folder.glob("*.tar"))) == 1


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--side", 8), ("--quality", 0), ("--share", 1.5), ("--shard-mb", 0), ("--workers", 0)],
)
def test_wrong_number_is_named(originals, tmp_path, flag, value):
    options = ("--data", originals, "--side", 64, flag, value, "--output", tmp_path / "pack")
    assert flag in error_line(run_tool("pack_data", *options))


def test_image_larger_than_a_shard_is_named(originals, tmp_path):
    options = ("--side", 320, "--shard-mb", 0.005, "--output", tmp_path / "pack")
    line = error_line(run_tool("pack_data", "--data", originals, "--sets", SETS[0], *options))
    assert "--shard-mb" in line
    assert "scene_00000" in line
