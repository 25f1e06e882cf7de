"""Noise depends on seed, image index and position, and on nothing else."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.noise import uniforms

seeds = st.integers(0, 2**64 - 1)
GOLDEN = [
    [0.8720734548204873, 0.29536538151378355, 0.4200976785072422],
    [0.8824668302545412, 0.3690383346754841, 0.5170696944527113],
    [0.40281473790577926, 0.3450220288504757, 0.33486446238612866],
]
"""uniforms(7, [0, 1, 9999], 3): a change of these changes every image that was ever recorded."""


def test_the_numbers_are_these() -> None:
    np.testing.assert_array_equal(uniforms(7, [0, 1, 9999], 3).numpy(), GOLDEN)


def test_they_are_what_philox_gives_for_the_key_of_seed_and_index() -> None:
    expected = np.random.Generator(np.random.Philox(key=np.array([7, 9999], dtype=np.uint64))).random(5)
    np.testing.assert_array_equal(uniforms(7, [9999], 5)[0].numpy(), expected)


@given(seeds, st.lists(st.integers(0, 2**40), min_size=1, max_size=6), st.integers(1, 20))
def test_an_image_has_its_row_in_whatever_company(seed: int, indices: list[int], positions: int) -> None:
    together = uniforms(seed, indices, positions)
    assert together.shape == (len(indices), positions)
    assert together.dtype == torch.float64
    assert float(together.min()) >= 0
    assert float(together.max()) < 1
    for row, index in enumerate(indices):
        assert torch.equal(together[row], uniforms(seed, [index], positions)[0])


@given(seeds, st.integers(0, 1000), st.integers(1, 50))
def test_a_position_has_its_number_however_many_follow(seed: int, index: int, positions: int) -> None:
    assert torch.equal(uniforms(seed, [index], 104)[:, :positions], uniforms(seed, [index], positions))


def test_neighbouring_seeds_and_images_share_nothing() -> None:
    rows = torch.cat([uniforms(seed, range(50), 49) for seed in range(4)])
    assert len(rows.flatten().unique()) == rows.numel()
    assert np.abs(np.corrcoef(rows.numpy()) - np.eye(len(rows))).max() < 0.65


def test_the_numbers_are_uniform() -> None:
    numbers = np.sort(uniforms(0, range(400), 49).numpy().ravel())
    assert np.abs(numbers - (np.arange(len(numbers)) + 0.5) / len(numbers)).max() < 1.63 / len(numbers) ** 0.5


def test_no_image_is_no_row() -> None:
    assert uniforms(0, [], 49).shape == (0, 49)


def test_the_global_generators_are_left_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    state = repr(np.random.get_state())
    uniforms(0, range(3), 4)
    assert torch.equal(torch.get_rng_state(), before)
    assert repr(np.random.get_state()) == state
