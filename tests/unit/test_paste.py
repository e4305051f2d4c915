"""Cut and paste: colour, depth and ground truth of the pasted object go together."""

from dataclasses import replace

import numpy as np
import pytest

from mutualformer_sod.data.depth.encoding import DepthEncoding
from mutualformer_sod.data.discovery.sets import discover_sets
from mutualformer_sod.data.synthetic.scenes import write_samples
from mutualformer_sod.data.training.copy_paste import paste_object
from mutualformer_sod.data.training.dataset import SodDataset
from mutualformer_sod.data.training.transforms import Augmentation

HEIGHT, WIDTH = 60, 80
OBJECT_COLOUR = 200


def target():
    """Dark, deeper towards the top, with a foreground in one corner."""
    rgb = np.full((HEIGHT, WIDTH, 3), 10, np.uint8)
    depth = np.linspace(0, 1, HEIGHT, dtype=np.float32)[:, None].repeat(WIDTH, axis=1)
    gt = np.zeros((HEIGHT, WIDTH), bool)
    gt[:20, :20] = True
    return rgb, depth, gt


def donor(height=90, width=100):
    """A bright slab, nearer on its right, on a background of another colour and depth."""
    rgb = np.full((height, width, 3), 90, np.uint8)
    depth = np.zeros((height, width), np.float32)
    gt = np.zeros((height, width), bool)
    gt[30:60, 20:60] = True
    rgb[gt] = OBJECT_COLOUR
    depth[gt] = np.tile(np.linspace(0.2, 0.4, 40, dtype=np.float32), 30)
    return rgb, depth, gt


def paste(seed):
    return paste_object(target(), donor(), np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(10))
def test_pasted_object_is_foreground_and_the_old_foreground_stays(seed):
    rgb, _, gt = paste(seed)
    pasted = rgb[..., 0] == OBJECT_COLOUR
    assert pasted.sum() > 50
    assert gt[pasted].min() > 0.999
    assert gt[target()[2]].min() == 1
    assert not gt[(rgb[..., 0] == 10) & ~target()[2]].any()


@pytest.mark.parametrize("seed", range(10))
def test_pasted_object_is_nearer_than_the_covered_background(seed):
    rgb, depth, _ = paste(seed)
    pasted = rgb[..., 0] == OBJECT_COLOUR
    rest = ~pasted & (rgb[..., 0] == 10)
    old = target()[1]
    scale = depth[rest].max() / old[rest].max()  # of the whole picture
    assert (depth[pasted] > scale * old[pasted]).all()
    assert depth.min() >= 0
    assert depth.max() <= 1


@pytest.mark.parametrize("seed", range(10))
def test_rest_of_the_depth_keeps_its_order(seed):
    rgb, depth, _ = paste(seed)
    rest = rgb[..., 0] == 10
    scale = depth[rest].max() / target()[1][rest].max()
    np.testing.assert_allclose(depth[rest], scale * target()[1][rest], atol=1e-6)


def test_object_keeps_its_relief():
    rgb, depth, _ = paste(3)
    pasted = rgb[..., 0] == OBJECT_COLOUR
    rows = np.flatnonzero(pasted.any(axis=1))
    steps = np.diff(depth[rows[len(rows) // 2]][pasted[rows[len(rows) // 2]]])
    assert (steps >= 0).all() or (steps <= 0).all()
    assert abs(steps.sum()) > 0.05


def test_donor_and_the_target_are_left_as_they_were():
    ours, theirs = target(), donor()
    for array in (*ours, *theirs):
        array.flags.writeable = False
    paste_object(ours, theirs, np.random.default_rng(0))


@pytest.mark.parametrize("share", ["none", "most"])
def test_no_object_or_one_that_fills_the_picture_is_not_pasted(share):
    rgb, depth, gt = donor()
    gt = np.full_like(gt, share == "most")
    ours = target()
    assert paste_object(ours, (rgb, depth, gt), np.random.default_rng(0)) is ours


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_samples(folder, 6, 1, size=(64, 88))
    return discover_sets([folder])[0]


def dataset(samples, **options):
    encoding = DepthEncoding(kind="map", near="white", margin=1.0, reason="made so")
    calm = {"flip": 0, "crop": 0, "brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}
    augment = Augmentation(**calm, depth_change=0, paste=options.pop("paste"))
    return SodDataset([replace(samples, encoding=encoding)], 48, augment=augment, **options)


def grown(samples, **options):
    """By item: by how much pasting enlarges the foreground."""
    plain, pasted = dataset(samples, paste=0), dataset(samples, **options)
    areas = [float(pasted[k]["gt"].sum() - plain[k]["gt"].sum()) for k in range(6)]
    return np.array(areas)


def test_dataset_pastes_into_its_share_of_the_images(samples):
    assert not grown(samples, paste=0).any()
    assert (grown(samples, paste=1) > 0).sum() >= 4
    counts = [(grown(samples, paste=0.5, seed=seed) > 0).sum() for seed in range(10)]
    assert 15 <= sum(counts) <= 42  # of 60, some covered by what was foreground


def test_images_shown_without_depth_get_no_object(samples):
    assert not grown(samples, paste=1, depth_dropout=1.0).any()
