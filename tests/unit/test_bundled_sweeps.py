"""The bundled sweeps ask for what the registered methods really have."""

from types import SimpleNamespace

import pytest

from harness import registry, sweep
from harness.run.driver import _one_of_each_first
from reports.claims.claim import shipped

ORDERS = ("ear", "raster-blocks", "random-order")
SWEEPS = sorted(path.stem for path in sweep.BUNDLED.glob("*.toml"))


@pytest.mark.parametrize("name", SWEEPS)
def test_a_bundled_sweep_is_valid(name: str) -> None:
    asked = sweep.load(sweep.BUNDLED / f"{name}.toml")
    assert asked.trials
    assert asked.timing.min_rounds > 0


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


def test_the_default_sweep_is_small_and_has_what_the_finding_and_the_claims_rest_on() -> None:
    default, seeds = (sweep.load(sweep.BUNDLED / f"{name}.toml").trials for name in ("fmnist", "fmnist-seeds"))
    assert len(default) <= 40
    assert {trial.images for trial in default} == {5000}
    lengths = {method: {trial.knobs.get("steps") for trial in default if trial.method == method} for method in ORDERS}
    assert lengths == {"ear": {4, 7, 13, 25, 49}, "raster-blocks": {4, 7, 13, 25, 49}, "random-order": {4, 13, 49}}
    for method in ("actvar", "var-static", "actvar-random"):
        kept = [{name: value for name, value in t.knobs.items() if value} for t in default if t.method == method]
        assert {"ffn_sparsity": 0.645, "ffn_tilt": 1.5, "sparse_scales": 2} in kept
        assert {"token_sparsity": 0.5, "sparse_scales": 2} in kept
        assert {"sparse_scales": 2} in kept
    same = [trial.owner.same_as(trial.knobs, trial.preset) for trial in default]
    assert same.count(("var", {})) == 3  # whose images are made once
    needed = [
        operand.select
        for claim in shipped()
        for operand in claim.operands.values()
        if operand.kind == "trials" and operand.select["preset"] == "fmnist"
    ]
    assert needed
    for select in needed:
        wanted = select.get("knobs", {}).items()
        one_setting = [t for t in (*default, *seeds) if t.method == select["method"] and wanted <= t.knobs.items()]
        assert one_setting, select
        if 0.57 not in dict(wanted).values():  # which is measured over five seeds
            assert any(trial in default for trial in one_setting), select


def test_a_first_look_shows_every_method_soon() -> None:
    trials = sweep.load(sweep.BUNDLED / "fmnist.toml").trials
    kinds = [(trial.method, trial.preset) for trial in trials]
    plans = [SimpleNamespace(kind=kind, key=str(place)) for place, kind in enumerate(kinds)]
    ordered = _one_of_each_first(plans)  # type: ignore[arg-type]
    assert {plan.kind[0] for plan in ordered[:8]} == set(registry.names())
    assert sorted(int(plan.key) for plan in ordered) == list(range(len(trials)))
