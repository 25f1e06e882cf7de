"""The bundled sweeps ask for what the registered methods really have."""

import pytest

from harness import registry, sweep
from harness.plan import protocol

SWEEPS = sorted(path.stem for path in sweep.BUNDLED.glob("*.toml"))


@pytest.mark.parametrize("name", SWEEPS)
def test_a_bundled_sweep_is_valid(name: str) -> None:
    asked = sweep.load(sweep.BUNDLED / f"{name}.toml")
    assert asked.trials
    assert protocol(asked.timing, name)


def test_the_default_and_the_full_sweep_measure_every_method() -> None:
    for name in ("fmnist", "fmnist-full"):
        trials = sweep.load(sweep.BUNDLED / f"{name}.toml").trials
        assert {trial.method for trial in trials} == set(registry.names())


def test_the_full_sweep_crosses_the_same_guidance_for_every_method() -> None:
    default, full = (sweep.load(sweep.BUNDLED / f"{name}.toml").trials for name in ("fmnist", "fmnist-full"))
    tried = {method: {t.sampling.cfg for t in full if t.method == method} for method in registry.names()}
    assert len({frozenset(values) for values in tried.values()}) == 1
    assert {(t.method, tuple(t.knobs.items())) for t in default} <= {(t.method, tuple(t.knobs.items())) for t in full}
    assert all(trial.sampling.cfg in tried[trial.method] for trial in default)
