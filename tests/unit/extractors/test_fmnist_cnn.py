"""The bundled extractor as torch-fidelity calls it."""

import torch
from torch_fidelity.utils import create_feature_extractor

import harness.extractors.for_torch_fidelity  # noqa: F401 - registers it
from harness.extractors.base import FMNIST_CNN
from harness.extractors.fmnist_cnn import load_fmnist_cnn


def test_torch_fidelity_finds_it_by_name_and_gets_its_features() -> None:
    images = torch.randint(0, 256, (3, 1, 28, 28), dtype=torch.uint8)
    expected = load_fmnist_cnn().features(images)
    registered = create_feature_extractor(FMNIST_CNN, ["features", "logits"], cuda=False, verbose=False)
    features, logits = registered(images.expand(-1, 3, -1, -1))
    assert torch.equal(features, expected["features"]) and torch.equal(logits, expected["logits"])


def test_places_are_those_of_the_first_channels() -> None:
    seen = load_fmnist_cnn().features(torch.zeros(2, 1, 28, 28, dtype=torch.uint8))
    assert seen["spatial"].shape == (2, 14 * 9)
