"""``arbench score``: compares images with a reference and gives FID and other metrics.

The images were made by a method that is not in arbench's registry. All features are Inception's. Metrics and
intervals are computed as in the stage quality. No metric depends on the order of the images.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.extractors.base import INCEPTION
from harness.stages.figures import flat, scores
from harness.stages.quality.features import silent
from harness.stages.quality.fidelity import STATISTICS_ALONE, Fidelity, Narrate
from harness.stages.quality.reference import Reference
from harness.stages.quality.resampling import Resampling
from harness.stages.quality.seen import Seen


@dataclass(frozen=True)
class Scored:
    """The score of a set of images."""

    figures: dict[str, Any]  # plain values with their intervals; "flags": what makes a metric less reliable
    replicates: Mapping[str, NDArray[np.float64]]  # bootstrap replicates, by a metric's dotted name


def scored(samples: Seen, against: Reference, narrate: Narrate = lambda what: silent) -> Scored:
    """Computes all metrics of ``samples``. If the reference has statistics but no images, KID, precision, recall,
    density and coverage are left out. Resampling ignores classes, because the classes of the samples are not known."""
    found = Fidelity(Resampling(np.zeros(samples.about["images"], np.int64)), narrate)
    found.frechet(INCEPTION, samples.arrays["features"], against.gaussian)
    if against.spatial is not None:
        found.spatial_frechet(INCEPTION, samples.arrays["spatial"], against.spatial)
    found.inception_score(samples.arrays["logits"])
    if against.within is not None:
        found.pairs(samples.arrays["features"], against.within)
    else:
        found.flags.append(STATISTICS_ALONE)
    sides = {"samples": dict(samples.about), "reference": dict(against.facts)}
    for side, about in sides.items():
        found.flags += [f"{side}: {note}" for note in about.get("notes") or ()]
    return Scored({**found.figures(), **sides}, found.replicates)


def score(samples: Seen, against: Reference, narrate: Narrate = lambda what: silent) -> dict[str, Any]:
    """The metrics that ``scored`` computes, without the bootstrap replicates."""
    return scored(samples, against, narrate).figures


def in_words(found: Mapping[str, Any]) -> str:
    """The result of ``score``, as text for a terminal."""
    values, intervals = flat(found), flat(found["intervals"])
    lines = [f"{found['samples']['images']} images of {found['samples']['path']} against {found['reference']['path']}"]
    for figure in scores():
        key = figure.name if figure.name in values else f"{figure.name}.{INCEPTION}"
        if key not in values:  # a reference without images, or samples without labels
            continue
        value, between = values[key], intervals.get(key)
        said = f"  95 %: {between[0]:.5g} to {between[1]:.5g}" if between else ""
        lines.append(f"{figure.title:<14}{'-' if value is None else format(value, '.5g'):>10}{said}")
    return "\n".join([*lines, *(f"note: {flag}" for flag in found["flags"])])
