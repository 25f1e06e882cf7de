"""The comparison with the authors' code: what is watched of ours, and with which of torch's settings theirs runs."""

import torch

from baselines import raster
from harness import registry
from harness.inputs import inputs
from tests.official.equal import watched
from tests.official.one import as_their_scripts


def test_the_logits_of_every_step_are_seen_also_where_a_gpu_would_replay_a_loop() -> None:
    owner = registry.get("raster")
    method = owner.load("fmnist").eval()
    knobs, sampling = owner.resolve({}, "fmnist"), method.preset.sampling
    labels, noise = inputs(method, 0, range(2))
    with torch.inference_mode(), watched(method) as steps:
        tokens = method.sample(labels, noise, knobs, sampling).tokens
    loop = method.loop(labels, noise, knobs, sampling)
    assert loop is not None
    with torch.inference_mode(), watched(method) as of_loop:
        looped = loop.run().tokens
    assert torch.equal(tokens, looped)
    assert [step.shape for step in steps] == [step.shape for step in of_loop] == [(2, 1, 512)] * method.positions
    assert torch.allclose(torch.cat(steps, 1), torch.cat(of_loop, 1), atol=1e-4)


def test_what_was_watched_is_as_it_was_afterwards() -> None:
    before = vars(raster)["guide"], vars(raster)["guide_by"]
    with watched(registry.get("raster").load("fmnist")):
        assert vars(raster)["guide"] is not before[0]
    assert (vars(raster)["guide"], vars(raster)["guide_by"]) == before


def test_the_authors_code_runs_with_the_settings_of_their_scripts() -> None:
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, torch.get_float32_matmul_precision()
    with as_their_scripts():
        # As in LlamaGen's sample_c2i.py: reading them back raises if torch's newer interface had been used as well.
        assert (matmul.allow_tf32, cudnn.allow_tf32, torch.get_float32_matmul_precision()) == (True, True, "high")
    assert (matmul.allow_tf32, cudnn.allow_tf32, torch.get_float32_matmul_precision()) == before
