"""The metrics of a set of images (FID and others), with intervals and bootstrap replicates.

The quality stage and ``arbench score`` both use this module.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.stages import CONFIDENCE
from harness.stages.quality.distributions import Gaussian, Moments, frechet, inception_score, too_small
from harness.stages.quality.features import Array, Tell, silent
from harness.stages.quality.pairs import FAR, Within, compare
from harness.stages.quality.resampling import REPLICATES, SEED, Resampling, frechet_replicates, interval

if TYPE_CHECKING:
    import numpy as np


Features = NDArray[np.floating[Any]]
Narrate = Callable[[str], Tell]
"""A function that takes the name of a computation, and returns the ``Tell`` to call while that computation runs."""
STATISTICS_ALONE = "the reference holds statistics alone: no KID, precision, recall, density or coverage"


class Fidelity:
    """The metrics of a set of images, collected by name.

    Some metrics are computed once for each extractor. The name of such a metric ends with a dot and the name of the
    extractor: FID has the name ``fid.inception``. All other names are single words: the inception score has the name
    ``is``, and KID the name ``kid``.
    """

    def __init__(self, draws: Resampling, narrate: Narrate = lambda what: silent) -> None:
        self.draws, self._narrate = draws, narrate
        self.values: dict[str, float | None] = {}
        self.intervals: dict[str, list[float]] = {}  # [low, high], 95 %
        self.replicates: dict[str, Array] = {}  # float64 [REPLICATES]
        self.flags: list[str] = []  # in words, what makes a metric less reliable

    def add(self, name: str, value: float, replicates: Array) -> None:
        """Adds a metric and its bootstrap replicates. The metric's interval is computed from the replicates."""
        self.values[name], self.replicates[name] = value, replicates
        self.intervals[name] = interval(value, replicates)

    def frechet(self, extractor: str, features: Features, against: Gaussian) -> None:
        """Adds FID and FID-infinity of features [N, D]; ``extractor`` is part of the names of both."""
        infinite, plain = f"fid_infinity.{extractor}", f"fid.{extractor}"
        self.values[infinite] = found = self._frechet(plain, f"FID ({extractor})", features, against)
        if found is not None:
            self.intervals[infinite] = interval(found, self.replicates[plain])

    def spatial_frechet(self, extractor: str, features: Features, against: Gaussian) -> None:
        """Adds sFID: the Fréchet distance on features that keep spatial positions (Nash et al., arXiv 2103.03841)."""
        self._frechet(f"sfid.{extractor}", f"sFID ({extractor})", features, against)

    def _frechet(self, name: str, title: str, features: Features, against: Gaussian) -> float | None:
        gaussian = Moments.of(features).gaussian()
        faults = [(side, too_small(one)) for side, one in (("samples", gaussian), ("reference", against))]
        self.flags += [f"{title}: {side}: {fault}" for side, fault in faults if fault]
        replicated = frechet_replicates(features, against, self.draws, self._narrate(title))
        if replicated is None:
            self.values[name] = frechet(gaussian, against)
            return None
        self.add(name, replicated.value, replicated.replicates)
        if replicated.infinite is None:
            self.flags.append(f"{title}: {len(features)} images are too few to extrapolate, the interval is too wide")
        return replicated.infinite

    def inception_score(self, logits: Features) -> None:
        """Adds the inception score of logits [N, C]."""
        self.add("is", inception_score(logits), self.draws.inception_score(logits))

    def pairs(self, features: Features, reference: Within) -> None:
        """Adds KID, precision, recall, density and coverage."""
        sample = Within.of(features, "samples", self._narrate("samples among themselves"))
        found = compare(sample, reference, self.draws.group, self._narrate("samples against the reference"))
        figures, references = found.figures, len(reference.features)
        self.add("kid", found.kid, found.kid + self.draws.means(found.kid_influence))
        self.add("precision", figures["precision"], self.draws.means(found.precise))
        self.add("recall", figures["recall"], self.draws.shares(found.recalled_by, figures["recall"], references))
        self.add("density", figures["density"], self.draws.means(found.around) / FAR)
        self.add("coverage", figures["coverage"], self.draws.shares(found.covered_by, figures["coverage"], references))

    def figures(self) -> dict[str, Any]:
        """The results as plain values, in a dict with these keys:

        - the name of each metric: its value, or a dict from the name of each extractor to the value
        - ``intervals``: the interval of each metric, in a dict with the same names
        - ``resampling``: the settings of the resampling
        - ``flags``: texts that say what makes a metric less reliable
        """
        how = {"replicates": REPLICATES, "groups": self.draws.groups, "seed": SEED, "confidence": CONFIDENCE}
        return {
            **_nested(self.values),
            "intervals": _nested(self.intervals),
            "resampling": how,
            "flags": self.flags,
        }


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """``{"fid.inception": x}`` as ``{"fid": {"inception": x}}``."""
    whole: dict[str, Any] = {}
    for name, value in flat.items():
        first, dot, rest = name.partition(".")
        if dot:
            whole.setdefault(first, {})[rest] = value
        else:
            whole[first] = value
    return whole
