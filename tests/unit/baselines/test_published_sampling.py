"""Top-k and top-p leave the probabilities that the official filters leave, ties included."""

import re

import pytest

from harness.sampling import Sampling, draw
from tests.helpers.published import fixture


@pytest.mark.parametrize("name", ["llamagen_sampling", "var_sampling"])
def test_draws_follow_the_official_probabilities(name: str) -> None:
    found, _ = fixture(name)
    logits = found.pop("logits")
    for setting, expected in found.items():
        match = re.fullmatch(r"\w+_k(\d+)_p([\d.]+)", setting)
        assert match, setting
        sampling = Sampling(top_k=int(match[1]), top_p=float(match[2]) or 1.0)  # VAR's 0 is off
        before = expected.double().cumsum(-1) - expected.double()
        for row, token in (expected > 1e-5).nonzero().tolist():
            for share in (0.01, 0.5, 0.99):  # of the token's part of the cumulative distribution
                uniform = (before[row, token] + share * expected[row, token].double()).reshape(1)
                assert draw(logits[row : row + 1], uniform, sampling).item() == token, (setting, row)
