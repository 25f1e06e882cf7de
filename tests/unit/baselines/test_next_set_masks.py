"""Next-set prediction and raster AR: who sees whom, teacher-forced and while sampling with adaptive steps."""

from math import isqrt
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import baselines.adaptive
from baselines.schedules import ORDERS
from harness.conformance.subjects import subject
from harness.inputs import inputs
from harness.sampling import Sampling, guide
from methods.ear import EAR
from tests.helpers import networks

PLACES = networks.GRID**2
NETWORKS = {order: networks.next_set(order) for order in ORDERS}
partitions = st.sets(st.integers(1, PLACES - 1)).map(
    lambda cuts: [end - start for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), PLACES], strict=True)]
)


@torch.no_grad()
def changed(order: str, sizes: list[int], place: int) -> Tensor:
    """Which logits move, bool [places] in decoding order, when the token at a place (in decoding order) is another."""
    network, tokens = NETWORKS[order], networks.tokens(PLACES)
    position = ORDERS[order](networks.GRID)[place]
    other = tokens.clone()
    other[0, position] = networks.another(tokens[0, position])
    label = torch.tensor([1])
    moved = (network.logits(tokens, label, sizes) - network.logits(other, label, sizes)).abs().amax((0, 2))
    return moved[ORDERS[order](networks.GRID)] > 1e-6


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(ORDERS)), partitions, st.integers(0, PLACES - 1))
def test_a_token_moves_the_logits_of_later_parts_and_of_no_other(order: str, sizes: list[int], place: int) -> None:
    part = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    assert changed(order, sizes, place).tolist() == (part > part[place]).tolist()


@settings(max_examples=20, deadline=None)
@given(partitions)
def test_the_class_moves_all_logits(sizes: list[int]) -> None:
    network, tokens = NETWORKS["spiral"], networks.tokens(PLACES)
    with torch.no_grad():
        one, other = (network.logits(tokens, torch.tensor([label]), sizes) for label in (0, networks.CLASSES))
    assert ((one - other).abs().amax((0, 2)) > 1e-6).all()


@settings(max_examples=20, deadline=None)
@given(partitions)
def test_how_the_places_to_come_are_cut_does_not_matter(sizes: list[int]) -> None:
    """A part's logits depend on the parts before and on its own places alone."""
    network, tokens, label = NETWORKS["spiral"], networks.tokens(PLACES), torch.tensor([2])
    whole = [sizes[0], PLACES - sizes[0]] if len(sizes) > 1 else sizes
    first = ORDERS["spiral"](networks.GRID)[: sizes[0]]
    with torch.no_grad():
        one, other = (network.logits(tokens, label, cut)[:, first] for cut in (sizes, whole))
    assert torch.allclose(one, other, atol=1e-5)


def test_places_of_a_part_are_told_apart() -> None:
    with torch.no_grad():
        logits = NETWORKS["spiral"].logits(networks.tokens(PLACES), torch.tensor([0]), [PLACES])[0]
    assert torch.pdist(logits).min() > 1e-3


@pytest.mark.parametrize("place", range(PLACES))
def test_raster_is_causal(place: int) -> None:
    network, tokens, label = networks.raster(), networks.tokens(PLACES), torch.tensor([1])
    other = tokens.clone()
    other[0, place] = networks.another(tokens[0, place])
    with torch.no_grad():
        moved = (network.logits(tokens, label) - network.logits(other, label)).abs().amax((0, 2)) > 1e-6
    assert moved.tolist() == [later > place for later in range(PLACES)]


def adaptive(threshold: float, images: int, cfg: float) -> tuple[EAR, Tensor, Tensor, list[Tensor], list[Tensor]]:
    """EAR and, of an adaptive run: labels, tokens, and what each step's guidance got and its prefixes were."""
    method = subject("ear")
    assert isinstance(method, EAR)
    labels, noise = inputs(method, 5, range(images))
    logits: list[Tensor] = []
    accepted: list[Tensor] = []

    def listening(found: Tensor, *rest: Any) -> Tensor:
        logits.append(found.clone())
        return guide(found, *rest)

    def counting(found: Tensor, limit: float) -> Tensor:
        accepted.append(prefix(found, limit))
        return accepted[-1]

    prefix = baselines.adaptive._prefix
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines.adaptive, "guide", listening)
        patch.setattr(baselines.adaptive, "_prefix", counting)
        tokens = method.sample(labels, noise, method.resolve({"adaptive": threshold}), Sampling(cfg=cfg)).tokens
    return method, labels, tokens, logits, accepted


@pytest.mark.parametrize(("cfg", "threshold"), [(1.0, 20.0), (2.0, 13.0)])
def test_adaptive_steps_draw_from_the_teacher_forced_logits_of_what_was_accepted(cfg: float, threshold: float) -> None:
    """Rows that accept different lengths, and leave the batch at different steps, do not disturb each other."""
    images = 6
    method, labels, tokens, logits, accepted = adaptive(threshold, images, cfg)
    order, total = method.network.order, method.positions
    rows: list[list[int]] = [[] for _ in range(images)]  # the sizes accepted so far
    differing = False
    for found, counts in zip(logits, accepted, strict=True):
        going = [row for row in range(images) if sum(rows[row]) < total]
        assert len(found) == len(going) * (1 if cfg == 1 else 2)
        for place, row in enumerate(going):
            done = sum(rows[row])
            window = (isqrt(done) + 1) ** 2 - done  # the rest of the ring
            rest = [total - done - window] if total - done > window else []
            part = order[done : done + window]
            for branch, label in enumerate([labels[row], torch.tensor(10)][: 1 if cfg == 1 else 2]):
                with torch.no_grad():
                    forced = method.network.logits(tokens[row : row + 1], label[None], [*rows[row], window, *rest])
                drawn_from = found[branch * len(going) + place, :window]
                assert (drawn_from - forced[0, part]).abs().max() < 1e-4
        differing |= len(set(counts.tolist())) > 1
        for place, row in enumerate(going):
            done = sum(rows[row])
            rows[row].append(min(int(counts[place]), (isqrt(done) + 1) ** 2 - done))
    assert differing
    assert [sum(sizes) for sizes in rows] == [total] * images


def test_the_prefix_ends_where_its_entropy_would_pass_the_threshold() -> None:
    sure, unsure = torch.tensor([9.0, 0, 0, 0]), torch.zeros(4)
    rows = [[sure, sure, unsure, sure], [unsure, sure, sure, sure], [sure, sure, sure, sure]]
    logits = torch.stack([torch.stack(row) for row in rows])
    assert baselines.adaptive._prefix(logits, 1.0).tolist() == [2, 1, 4]  # an unsure token has log 4 = 1.386 nats
    assert baselines.adaptive._prefix(logits, 1.4).tolist() == [4, 4, 4]
    assert baselines.adaptive._prefix(torch.zeros(1, 4, 4), 3.0).tolist() == [2]
