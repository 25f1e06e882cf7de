"""``inception``: the Inception network that FID is named after, in torch-fidelity's port, with weights given by path.

The weights are a pickle: its hash is checked before it is opened, and only tensors are ever read from it.
"""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness import file_kinds
from harness.checkpoints.tensors import WRITTEN_BY_TORCH
from harness.errors import ArbenchError
from harness.extractors.base import INCEPTION, Extractor

WEIGHTS_FILE = "weights-inception-2015-12-05-6726825d.pth"
"""From torch-fidelity's release v0.2.0. The name ends with the first eight hex digits of the file's sha256."""
KNOWN_SHA256 = "6726825d"
LARGEST = 2**30
"""The greatest size of a file of weights in bytes. The published file has a tenth of this size."""
SPATIAL_CHANNELS = 7
FEATURES, SPATIAL = 2048, SPATIAL_CHANNELS * 17 * 17
"""Numbers of dimensions of the features and of the spatial features."""


class Inception(nn.Module):
    """Inception for images of any size. It gives features [B, 2048], logits [B, 1008] (without bias, as for the
    inception score) and spatial features [B, 2023].

    The spatial features are the first 7 channels of the 1x1 branch in the block that TensorFlow calls mixed_6. Their
    order is (row, column, channel), as in the statistics that guided-diffusion's reference files hold (``mu_s``).
    guided-diffusion's evaluator computes sFID on these features (Nash et al., 2103.03841).
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        """state: a complete state dict of torch-fidelity's network.

        Raises RuntimeError if the state dict does not fit the network. The error lists what does not fit.
        """
        # imported late: this module imports torchvision, which takes longer than all other imports of a worker or job
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        super().__init__()
        # torch-fidelity reads weights from a file only, and unpickles all of it. We give it a file that we just wrote.
        file = io.BytesIO()
        torch.save(dict(state), file)
        file.seek(0)
        self.network = FeatureExtractorInceptionV3(
            INCEPTION, ["2048", "logits_unbiased"], feature_extractor_weights_path=file
        )
        self._places: Tensor | None = None
        self.network.Mixed_6d.branch1x1.register_forward_hook(self._keep)

    def _keep(self, module: object, inputs: object, out: Tensor) -> None:
        self._places = out[:, :SPATIAL_CHANNELS].permute(0, 2, 3, 1).flatten(1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """images: uint8 [B, 1 or 3, H, W]; grey is repeated to three channels. Raises ArbenchError for other images."""
        if images.dtype != torch.uint8 or images.dim() != 4 or images.shape[1] not in (1, 3):
            raise ArbenchError(
                f"inception: images {images.dtype} {tuple(images.shape)} (valid: uint8 [B, 1 or 3, H, W])"
            )
        features, logits = self.network(images.expand(-1, 3, -1, -1))
        spatial, self._places = self._places, None
        assert spatial is not None
        return {"features": features, "logits": logits, "spatial": spatial}


class InceptionExtractor(Extractor):
    """Inception as an extractor. Its 1008 classes are TensorFlow's, in a different order from the data's labels.
    Label accuracy is therefore not computed."""

    architecture = "harness.extractors_inception.Inception"
    resize = "bilinear to 299x299 as in TensorFlow 1"
    classifies = False


def load_inception(weights: Path | None = None, sha256: str | None = None) -> InceptionExtractor:
    """The extractor, with weights from a file.

    weights: path of the file; by default, WEIGHTS_FILE in torch's download folder.
    sha256: the expected hash of the file, in hex; by default, the hash of the one published file.

    Raises ArbenchError if the file has another hash; the file is then not unpickled. Also raises ArbenchError if the
    file is missing, holds more than tensors, or does not fit the network.
    """
    path = weights or Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS_FILE
    try:
        if path.exists():
            _must_be_possible(path)
        content = path.read_bytes()
    except OSError as error:
        raise ArbenchError(
            f"cannot read the Inception weights {path} ({error.strerror}): give the path of {WEIGHTS_FILE}, "
            "from torch-fidelity's release v0.2.0"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    fits = found.startswith(KNOWN_SHA256) if sha256 is None else found == sha256.lower()
    if not fits:
        expected = f"{sha256}" if sha256 else f"{KNOWN_SHA256}..., that of {WEIGHTS_FILE}"
        raise ArbenchError(f"Inception weights {path}: sha256 {found}, expected {expected}; not opened")
    try:
        return InceptionExtractor(INCEPTION, Inception(_tensors(content, path)), path)
    except RuntimeError as error:
        faults = " ".join(str(error).split())
        raise ArbenchError(f"Inception weights {path} do not fit: {faults[:300]}") from error


def _must_be_possible(path: Path) -> None:
    """Raises ArbenchError if a file cannot be a weights file at all. The error says what the file is."""
    kind = file_kinds.what_is(path) if path.is_file() or path.is_dir() else "no regular file"
    if kind not in (*WRITTEN_BY_TORCH, file_kinds.UNKNOWN):
        raise ArbenchError(f"Inception weights {path}: it is {kind} (valid: {WEIGHTS_FILE})")
    if path.stat().st_size > LARGEST:
        raise ArbenchError(f"Inception weights {path}: it has over {LARGEST} bytes (valid: {WEIGHTS_FILE})")


def _tensors(content: bytes, path: Path) -> dict[str, Tensor]:
    try:
        state: Any = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or hostile pickle raises any of half a dozen kinds
        reason = " ".join(str(error).split())
        raise ArbenchError(
            f"Inception weights {path} hold more than tensors, or are damaged: {reason[:200]}"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ArbenchError(f"Inception weights {path} are no dictionary of tensors")
    return state
