"""Large stores and long sweeps: what is finished costs next to nothing."""

import io
import json
import time
from pathlib import Path

import pytest
import torch

from harness import sweep
from harness.jobs.bench import Bench
from harness.jobs.plan import Instrument, Job, plan
from harness.records.store import Store
from harness.run import driver
from harness.stages.timing.protocol import protocol
from tests.helpers import fakes_store, sweeping


@pytest.mark.slow
def test_a_store_of_twenty_thousand_records_loads_into_the_table_within_five_seconds(tmp_path: Path) -> None:
    store, record = Store(tmp_path), fakes_store.records()[0]
    store.prepare()
    for place in range(20_000):
        record |= {"name": f"raster[preset=fmnist,cfg=2,seed={place}]", "key": f"{place:064x}"}
        (store.records_folder / f"{place}.json").write_text(json.dumps(record))
    import pandas  # noqa: F401 - not part of the loading

    began = time.process_time()
    assert len(store.table()) == 20_000
    assert time.process_time() - began < 5


class BegunError(Exception):
    """The first job is about to be done."""


def test_a_sweep_of_a_thousand_finished_trials_starts_work_within_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Importing torch takes another: within two in all."""
    with sweeping.in_place() as patch:
        patch.setenv(sweeping.WEIGHTS, str(sweeping.make_weights(tmp_path / "fake.safetensors")))
        content = {"preset": "tiny", "images": 28, "seed": list(range(1001)), "method": {"fake": {}}}
        asked = sweep.parse(content, "long")
        store = Store(tmp_path / "store")
        store.prepare()
        named = ((asked.extractor, None),)
        references = {"tiny": Bench(named, store.folder / "references").references("tiny")}
        instrument = Instrument(named, references, protocol({}, "long").on(torch.device("cpu")))
        record = fakes_store.records()[0]
        for trial in asked.trials[:1000]:
            planned = plan(trial, instrument, store)
            path = store.path(planned.name, planned.key)
            path.write_text(json.dumps(record | {"name": planned.name, "key": planned.key}))

        def begin(self: Bench, job: Job) -> None:
            assert job.plan.trial == asked.trials[1000]
            raise BegunError

        monkeypatch.setattr(Bench, "attempt", begin)
        began = time.process_time()
        with pytest.raises(BegunError):
            driver.run(asked, store, driver.Options(workers=0), io.StringIO())
        assert time.process_time() - began < 1
