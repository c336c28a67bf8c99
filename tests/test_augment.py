import dataclasses

import numpy as np
import pytest
import torch

from synthgate.learning import augment
from synthgate.learning.regions import dice

pytestmark = pytest.mark.usefixtures("one_thread")
SPACE = {2: (48, 40), 3: (32, 32, 12)}


def batch(dims: int, samples: int = 6):
    """A grey head with one bright ball off its centre, and the ball as target."""
    axes = torch.meshgrid(*(torch.arange(n) - (n - 1) / 2 for n in SPACE[dims]), indexing="ij")
    head = axes[0] ** 2 + axes[1] ** 2 < 14**2
    ball = (axes[0] - 4) ** 2 + (axes[1] + 3) ** 2 + (axes[2] ** 2 if dims == 3 else 0) < 5**2
    image = torch.where(ball, 1.0, 0.3) * head
    return image.expand(samples, 2, *SPACE[dims]).contiguous(), ball.float().expand(
        samples, 1, *SPACE[dims]
    ).contiguous()


def quiet(draw: augment.Draw) -> augment.Draw:
    """The same movement, with the intensities left alone."""
    ones, zeros = np.ones_like(draw.gamma), np.zeros_like(draw.gamma)
    return dataclasses.replace(draw, gamma=ones, gain=ones, offset=zeros, noise=zeros, blur=np.zeros_like(draw.blur))


def outside(image):
    """Further than the next pixel from the head, where interpolation leaves nothing."""
    pool = torch.nn.functional.max_pool2d if image.dim() == 4 else torch.nn.functional.max_pool3d
    return pool(image, 3, 1, 1) == 0


def still(draw: augment.Draw, dims: int) -> augment.Draw:
    return dataclasses.replace(draw, affine=np.tile(np.eye(dims, dims + 1, dtype=np.float32), (len(draw.blur), 1, 1)))


@pytest.mark.parametrize("dims", [2, 3])
def test_the_same_draw_gives_the_same_batch_and_another_another(dims):
    image, target = batch(dims)
    draws = [augment.draw(np.random.default_rng(seed), 6, 2, dims) for seed in (1, 1, 2)]
    first, again, other = (augment.apply(image, target, draw) for draw in draws)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0]) and not torch.equal(first[1], other[1])


@pytest.mark.parametrize("dims", [2, 3])
def test_global_seeds_play_no_part(dims):
    image, target = batch(dims)
    draw = augment.draw(np.random.default_rng(1), 6, 2, dims)
    torch.manual_seed(0)
    before = augment.apply(image, target, draw)[0]
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert torch.equal(augment.apply(image, target, draw)[0], before)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_draw_that_does_nothing_leaves_image_and_target(dims):
    image, target = batch(dims)
    draw = still(quiet(augment.draw(np.random.default_rng(1), 6, 2, dims)), dims)
    moved, label = augment.apply(image, target, draw)
    assert torch.allclose(moved, image, atol=1e-5)
    assert torch.equal(label, target)


@pytest.mark.parametrize("dims", [2, 3])
def test_labels_move_with_their_images(dims):
    image, target = batch(dims)
    moved, label = augment.apply(image, target, quiet(augment.draw(np.random.default_rng(3), 6, 2, dims)))
    unmoved = [dice(np.asarray(a[0] > 0), np.asarray(b[0] > 0)) for a, b in zip(label, target, strict=True)]
    assert min(unmoved) < 0.6, "the draw hardly moves anything, so the next lines would prove nothing"
    for bright, found in zip(moved[:, 0] > 0.65, label[:, 0] > 0, strict=True):
        assert found.any()
        assert dice(np.asarray(bright), np.asarray(found)) > 0.9


@pytest.mark.parametrize("dims", [2, 3])
def test_some_samples_are_mirrored_left_right_and_none_upside_down(dims):
    flips = np.concatenate([augment.draw(np.random.default_rng(s), 8, 1, dims).affine for s in range(12)])
    x, y = dims - 1, dims - 2
    assert 0.3 < (flips[:, x, x] < 0).mean() < 0.7
    assert (flips[:, y, y] > 0).all()
    if dims == 3:
        assert (flips[:, 0, 0] > 0).all() and not flips[:, 0, 1:3].any()


def test_a_mirrored_draw_mirrors_the_first_space_axis():
    image, target = batch(2)
    draw = still(quiet(augment.draw(np.random.default_rng(1), 6, 2, 2)), 2)
    draw.affine[:, 1, 1] = -1
    moved, label = augment.apply(image, target, draw)
    assert torch.allclose(moved, image.flip(2), atol=1e-5)
    assert torch.equal(label, target.flip(2))


@pytest.mark.parametrize("dims", [2, 3])
def test_intensities_change_by_the_formula_and_only_inside_the_head(dims):
    image, target = batch(dims)
    drawn = still(augment.draw(np.random.default_rng(4), 6, 2, dims), dims)
    draw = dataclasses.replace(drawn, noise=np.zeros_like(drawn.noise), blur=np.zeros_like(drawn.blur))
    moved, label = augment.apply(image, target, draw)
    for sample in range(6):
        for channel in range(2):
            before, after = image[sample, channel].numpy(), moved[sample, channel].numpy()
            expected = before ** draw.gamma[sample, channel] * draw.gain[sample, channel] + draw.offset[sample, channel]
            assert np.allclose(after[before > 0], expected[before > 0], atol=1e-4)
    assert not moved[outside(image)].any()
    assert torch.equal(label, target)


def test_noise_and_blur_stay_inside_the_head():
    image, target = batch(2)
    draw = still(augment.draw(np.random.default_rng(4), 6, 2, 2), 2)
    noisy = dataclasses.replace(draw, noise=np.full((6, 2), 0.05), blur=np.full(6, 0.5))
    moved, _ = augment.apply(image, target, noisy)
    assert not moved[outside(image)].any()
    plain = dataclasses.replace(draw, noise=np.zeros((6, 2)), blur=np.full(6, 0.5))
    difference = moved - augment.apply(image, target, plain)[0]
    assert float(difference[image > 0].std()) == pytest.approx(0.05, rel=0.05)
