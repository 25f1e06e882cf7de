"""Two trials that may differ in a figure never share a key, and so never a record."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.jobs.bench import Bench
from harness.jobs.plan import Instrument, plan
from harness.records.store import Store
from harness.stages.timing.protocol import protocol
from harness.trial import Trial
from tests.helpers import sweeping

USUAL: dict[str, Any] = {"method": "fake", "preset": "tiny", "seed": 0, "images": 28}


@pytest.fixture
def planned(tmp_path: Path) -> Iterator[Any]:
    """Gives the plan of the usual trial with changes, under a timing protocol."""
    with sweeping.in_place() as patch:
        patch.setenv(sweeping.WEIGHTS, str(sweeping.make_weights(tmp_path / "fake.safetensors")))
        store, named = Store(tmp_path), (("tiny", None),)
        references = {"tiny": Bench(named, tmp_path / "references").references("tiny")}

        def made(changed: dict[str, Any], **timing: Any) -> Any:
            instrument = Instrument(named, references, protocol(timing, "test"))
            return plan(Trial.of(**{**USUAL, **changed}), instrument, store)

        yield made


CHANGES: list[dict[str, Any]] = [
    {"seed": 1},
    {"images": 29},
    {"knobs": {"steps": 2}},
    {"knobs": {"shade": "dark"}},
    *({"sampling": {name: value}} for name, value in [("cfg", 2.0), ("cfg_schedule", "ramp"), ("top_k", 3)]),
    *({"sampling": {"cfg_schedule": "power-cosine", "cfg_power": power}} for power in (1.0, 2.0)),
    *({"sampling": {name: value}} for name, value in [("temperature", 0.5), ("top_p", 0.5)]),
    *({"setup": {name: value}} for name, value in [("labels", "random"), ("uint8", "truncate"), ("precision", "bf16")]),
    {"setup": {"weights": "random"}},
    {"setup": {"tf32": "on"}},
    {"setup": {"compute_batch": 8}},
]


def test_all_that_moves_a_figure_moves_the_key(planned: Any) -> None:
    all_plans = [planned(change) for change in [{}, *CHANGES]]
    assert len({one.key for one in all_plans}) == len(all_plans)
    assert len({one.folder for one in all_plans}) == len(all_plans)  # nothing of one is taken for the other's
    assert len({(one.name, one.trial.images) for one in all_plans}) == len(all_plans)


@pytest.mark.parametrize("timing", [{"capture": "compile"}, {"throughput_batch": 32}, {"settled": 0.01}], ids=str)
def test_another_way_of_timing_is_another_key_and_shares_all_but_the_timing(planned: Any, timing: Any) -> None:
    one, other = planned({}), planned({}, **timing)
    assert one.key != other.key
    differing = {stage for stage in one.stages if one.stages[stage] != other.stages[stage]}
    assert differing == {"timing"}
