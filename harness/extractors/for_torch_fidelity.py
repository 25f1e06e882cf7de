"""Importing this module registers ``fmnist-cnn`` with torch-fidelity, so that torch-fidelity's functions can use it."""

import torch
from torch import Tensor
from torch_fidelity import FeatureExtractorBase, register_feature_extractor

from harness.extractors.base import FMNIST_CNN
from harness.extractors.fmnist_cnn import load_fmnist_cnn


class FidelityExtractor(FeatureExtractorBase):  # type: ignore[misc]
    """``fmnist-cnn`` in torch-fidelity's form. Images are uint8 [B, C, H, W]; grey images may have three channels."""

    def __init__(self, name: str, features_list: list[str], **_: object) -> None:
        super().__init__(name, features_list)
        self.network = load_fmnist_cnn().network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        found = self.network(images[:, :1])
        return tuple(found[name] for name in self.features_list)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return ("features", "logits")

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "logits" if metric == "isc" else "features"

    @staticmethod
    def can_be_compiled() -> bool:
        return False

    @staticmethod
    def get_dummy_input_for_compile() -> Tensor:
        return torch.zeros(1, 3, 28, 28, dtype=torch.uint8)


register_feature_extractor(FMNIST_CNN, FidelityExtractor)
