import dataclasses

import numpy as np
import pytest
import torch
from tiny_store import REGIONS, entries, make, segmenter, volume

from synthgate.errors import CohortError
from synthgate.learning import augment
from synthgate.learning.sampler import Pool, Sampler

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def unaugmented(monkeypatch):
    monkeypatch.setattr(augment, "apply", lambda image, target, draw: (image, target))


def sampler(store, seed=0, **changed):
    params = segmenter(changed.pop("spatial_dims", 2), **changed)
    return Sampler([Pool(store, store.select("train"), 1.0)], REGIONS, params, seed)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_batch_is_a_function_of_seed_and_step_alone(tiny, dims):
    first, second = (sampler(tiny, spatial_dims=dims) for _ in range(2))
    ordered = [first.batch(step) for step in range(3)]
    for step in (2, 0, 1, 2):
        image, target = second.batch(step)
        assert torch.equal(image, ordered[step][0]) and torch.equal(target, ordered[step][1])
    assert not torch.equal(ordered[0][0], ordered[1][0])
    assert not torch.equal(ordered[0][0], sampler(tiny, seed=1, spatial_dims=dims).batch(0)[0])


@pytest.mark.parametrize(("dims", "space"), [(2, (32, 32)), (3, (16, 16, 4))])
def test_shapes_and_types(tiny, dims, space):
    image, target = sampler(tiny, spatial_dims=dims).batch(0)
    assert image.shape == (4, 2, *space) and target.shape == (4, 2, *space)
    assert image.dtype == target.dtype == torch.float32
    assert set(target.unique().tolist()) <= {0.0, 1.0}
    assert torch.isfinite(image).all()


def test_slices_are_those_of_the_store_with_their_labels(tiny, unaugmented):
    known = {}
    for case in tiny.select("train"):
        images, labels = tiny.planes(case)
        known |= {images[z].tobytes(): labels[z] for z in range(len(labels))}
    image, target = sampler(tiny, batch=32).batch(0)
    for one, regions in zip(image.numpy().astype(np.float16), target.numpy(), strict=True):
        label = known[one.tobytes()]
        assert np.array_equal(regions, np.stack([label > 0, label == 1]))


def test_patches_are_cut_where_the_label_is_cut(tiny, unaugmented):
    planes = [tiny.planes(case) for case in tiny.select("train")]
    image, target = sampler(tiny, batch=8, patch=(16, 24)).batch(1)
    for one, regions in zip(image.numpy().astype(np.float16), target.numpy(), strict=True):
        assert any(
            np.array_equal(images[z][:, x : x + 16, y : y + 24], one)
            and np.array_equal(labels[z][x : x + 16, y : y + 24] > 0, regions[0] > 0)
            for images, labels in planes for z in range(6) for x in range(17) for y in range(9)
        )  # fmt: skip


@pytest.mark.parametrize("foreground", [0.0, 0.5, 1.0])
def test_the_foreground_share_holds(tiny, unaugmented, foreground):
    made = sampler(tiny, foreground=foreground, batch=64)
    found = torch.cat([made.batch(step)[1] for step in range(8)]).flatten(1).any(1).float().mean()
    # three of six slices show a lesion, so half of the rest does too
    assert float(found) == pytest.approx(foreground + (1 - foreground) / 2, abs=0.07)


def test_pools_give_their_shares(tiny, tmp_path, unaugmented):
    listed = entries({"s1": "synthetic", "s2": "synthetic"}, donors=("ann",))
    bright = [
        dataclasses.replace(
            entry, load=lambda s=s: dataclasses.replace(volume(s), label=np.zeros_like(volume(s).label))
        )
        for s, entry in enumerate(listed, start=20)
    ]
    store = make(tmp_path, bright)
    pools = [Pool(tiny, tiny.select("train"), 0.75), Pool(store, store.cases, 0.25)]
    made = Sampler(pools, REGIONS, segmenter(foreground=1.0, batch=64), 0)
    # with foreground 1 every real slice has a lesion and no synthetic one has
    lesions = torch.cat([made.batch(step)[1] for step in range(10)]).flatten(1).any(1).float().mean()
    assert float(lesions) == pytest.approx(0.75, abs=0.05)


def test_a_volume_thinner_than_the_patch_is_padded_with_nothing(tiny, unaugmented):
    image, target = sampler(tiny, spatial_dims=3, patch=(16, 16, 8)).batch(0)
    assert image.shape[-1] == 8
    assert image[..., :6].any() and not image[..., 6:].any() and not target[..., 6:].any()


def test_a_lesion_asked_for_in_3d_lies_in_the_depth_of_the_patch(tmp_path, unaugmented):
    def deep(seed):  # 24 slices, the lesion in slices 2 to 4 only
        one = volume(seed)
        images = {name: np.concatenate([values] * 4, 2) for name, values in one.images.items()}
        return dataclasses.replace(one, images=images, label=np.pad(one.label, ((0, 0), (0, 0), (0, 18))))

    listed = [dataclasses.replace(e, load=lambda s=s: deep(s)) for s, e in enumerate(entries({"a": "train"}))]
    store = make(tmp_path, listed)
    for foreground in (1.0, 0.0):
        params = segmenter(3, patch=(32, 32, 4), foreground=foreground, batch=32)
        shown = Sampler([Pool(store, store.cases, 1.0)], REGIONS, params, 0).batch(0)[1].flatten(1).any(1)
        assert shown.all() == bool(foreground)


def test_a_patch_larger_than_the_grid_is_refused(tiny):
    with pytest.raises(CohortError, match=r"patch side 64 exceeds the prepared size 32.*prepare\.size"):
        sampler(tiny, patch=(64, 64)).batch(0)


def test_nobody_to_train_on_is_refused(tiny):
    with pytest.raises(CohortError, match="none of the 0 cases"):
        Sampler([Pool(tiny, [], 1.0)], REGIONS, segmenter(), 0)
