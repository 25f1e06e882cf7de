"""VAR: a scale's logits see the scales before and nothing else, in one pass as in many."""

import pytest
import torch
from torch import Tensor

from baselines.llama import Slots
from tests.helpers import networks

NETWORK, QUANTISER = networks.var()
LEVEL = NETWORK.lvl_1L[0]


@torch.no_grad()
def logits(tokens: Tensor, label: int = 1) -> Tensor:
    return NETWORK.logits(QUANTISER.inputs(tokens), torch.tensor([label]))


@pytest.mark.parametrize("place", range(len(LEVEL)))
def test_a_token_moves_the_logits_of_later_scales_and_of_no_other(place: int) -> None:
    tokens = networks.tokens(len(LEVEL))
    other = tokens.clone()
    other[0, place] = networks.another(tokens[0, place])
    moved = (logits(tokens) - logits(other)).abs().amax((0, 2))
    earlier = LEVEL.le(int(LEVEL[place]))
    assert moved[earlier].max() < 1e-6
    assert (moved[~earlier] > 1e-6).all()


def test_the_class_moves_all_logits() -> None:
    tokens = networks.tokens(len(LEVEL))
    assert ((logits(tokens, 0) - logits(tokens, networks.CLASSES)).abs().amax((0, 2)) > 1e-6).all()


def test_places_of_a_scale_are_told_apart() -> None:
    assert torch.pdist(logits(networks.tokens(len(LEVEL)))[0]).min() > 1e-3


def test_scale_by_scale_with_a_cache_gives_the_logits_of_one_pass() -> None:
    tokens, label = networks.tokens(len(LEVEL)), torch.tensor([2])
    with torch.no_grad():
        seen = QUANTISER.inputs(tokens)
        condition = NETWORK.class_emb(label)
        modulations, found = NETWORK.modulations(condition), []
        cache = NETWORK.new_cache(condition)
        for scale in range(len(networks.SCALES)):
            span = NETWORK.span(scale)
            part = seen[:, span.start - 1 : span.stop - 1] if scale else None
            x = NETWORK.run(NETWORK.embed(part, condition, span), modulations, past=(cache, Slots(span.stop)))
            found.append(NETWORK.read_out(x, condition))
        assert torch.allclose(torch.cat(found, 1), logits(tokens, 2), atol=1e-4)


def test_the_spans_of_the_scales_partition_the_sequence() -> None:
    spans = [NETWORK.span(scale) for scale in range(len(networks.SCALES))]
    assert [place for span in spans for place in range(span.start, span.stop)] == list(range(len(LEVEL)))
    assert [span.stop - span.start for span in spans] == [1, 4, 9]
