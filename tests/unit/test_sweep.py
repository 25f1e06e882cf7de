"""Sweep files: trials in a stable order without duplicates, and errors that name file, table and key."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import sweep
from harness.errors import ArbenchError
from harness.trial import Trial
from tests.helpers import sweeping


@pytest.fixture(autouse=True, scope="module")
def _small() -> Iterator[None]:
    with sweeping.in_place():
        yield


def names(folder: Path, text: str, images: int | None = None) -> list[str]:
    path = folder / "asked.toml"
    path.write_text(text)
    return [trial.name for trial in sweep.load(path, images).trials]


def test_blocks_cross_seeds_sampling_lists_and_grids_in_this_order(tmp_path: Path) -> None:
    text = """
    preset = "tiny"
    seed = [0, 1]
    [[method.fake]]
    knobs = { warmth = 0.5 }
    list = [{ shade = "dark" }, {}]
    grid = { steps = [4, 2] }
    sampling = { cfg = [1, 2] }
    [[method.fake]]
    """
    found = names(tmp_path, text)
    assert len(found) == 2 * 2 * 2 * 2 + 2
    assert found[0] == "fake[preset=tiny,steps=4,shade=dark,warmth=0.5,cfg=1,seed=0]"
    assert found[1] == "fake[preset=tiny,steps=2,shade=dark,warmth=0.5,cfg=1,seed=0]"
    assert found[2] == "fake[preset=tiny,steps=4,warmth=0.5,cfg=1,seed=0]"
    assert found[4] == "fake[preset=tiny,steps=4,shade=dark,warmth=0.5,cfg=2,seed=0]"
    assert found[8] == "fake[preset=tiny,steps=4,shade=dark,warmth=0.5,cfg=1,seed=1]"
    assert found[-2:] == ["fake[preset=tiny,steps=4,cfg=1.5,seed=0]", "fake[preset=tiny,steps=4,cfg=1.5,seed=1]"]


def test_the_heads_sampling_holds_for_all_and_a_block_may_differ(tmp_path: Path) -> None:
    text = """
    preset = "tiny"
    [sampling]
    cfg = [1, 3]
    [[method.fake]]
    grid = { steps = [1] }
    [[method.fake]]
    grid = { steps = [2] }
    sampling = { cfg = 2, top_k = 4 }
    """
    assert names(tmp_path, text) == [
        "fake[preset=tiny,steps=1,cfg=1,seed=0]",
        "fake[preset=tiny,steps=1,cfg=3,seed=0]",
        "fake[preset=tiny,steps=2,cfg=2,top_k=4,seed=0]",
    ]


@given(steps=st.lists(st.integers(1, 4), min_size=1), cfgs=st.lists(st.sampled_from([1, 1.0, 1.5, 2]), min_size=1))
def test_no_trial_comes_twice_and_none_is_lost(steps: list[int], cfgs: list[float]) -> None:
    content = {"preset": "tiny", "method": {"fake": {"grid": {"steps": steps}, "sampling": {"cfg": cfgs}}}}
    trials = sweep.parse(content, "given").trials
    assert len({trial.name for trial in trials}) == len(trials)
    assert {(trial.knobs["steps"], trial.sampling.cfg) for trial in trials} == {(s, c) for s in steps for c in cfgs}
    assert trials == sweep.parse(content, "given").trials


def test_images_given_take_the_place_of_the_files(tmp_path: Path) -> None:
    path = tmp_path / "asked.toml"
    path.write_text('preset = "tiny"\nimages = 70\n[method.fake]')
    assert sweep.load(path).trials[0].images == 70
    assert sweep.load(path, 9).trials[0].images == 9


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("preset = tiny", "not valid TOML: Invalid value (at line 1, column 10)"),
        ('preset = "tiny"', "no [method.NAME] table"),
        ('prest = "tiny"\n[method.fake]', "top level: unknown key 'prest'; did you mean 'preset'?"),
        ("[method.fake]", "[method.fake]: key 'preset' is missing"),
        ('preset = "tiny"\n[method.fkae]', "[method.fkae]: unknown method 'fkae'; did you mean 'fake'?"),
        ('preset = "tiny"\n[method]\nfake = 3', "[method.fake]: expected a table, got 3"),
        ('preset = "tiny"\nimages = "all"\n[method.fake]', "top level: key 'images' must be a whole number, got 'all'"),
        ('preset = "tiny"\nimages = 0\n[method.fake]', "images = 0 is out of range"),
        (
            'preset = "tiny"\n[method.fake]\ngird = {steps=[1]}',
            "[method.fake]: unknown key 'gird'; did you mean 'grid'?",
        ),
        ('preset = "tiny"\n[method.fake]\ngrid = {steps=1}', "[method.fake]: key 'grid.steps' must be a list, got 1"),
        ('preset = "tiny"\n[method.fake]\ngrid = {steps=[]}', "[method.fake]: key 'grid.steps' is an empty list"),
        ('preset = "tiny"\n[method.fake]\ngrid = {stpes=[1]}', "unknown knob of fake 'stpes'; did you mean 'steps'?"),
        (
            'preset = "tiny"\n[method.fake]\nknobs = {steps=5}',
            "knob steps = 5 is out of range (valid: int from 1 to 4)",
        ),
        ('preset = "tiny"\n[method.fake]\nlist = [2]', "[method.fake]: key 'list', entry 1 must be a table of knobs"),
        (
            'preset = "tiny"\n[[method.fake]]\n[[method.fake]]\nknobs = {steps=1}\ngrid = {steps=[2]}',
            "[[method.fake]] number 2: knob 'steps' is given both in 'knobs' and in 'grid'",
        ),
        ('preset = "tiny"\n[method.fake]\nsampling = {cgf=2}', "unknown sampling setting 'cgf'; did you mean 'cfg'?"),
        ('preset = "tiny"\n[method.fake]\nsampling = {cfg=[1, 200]}', "cfg = 200.0 is out of range (valid: 0 to 100)"),
        ('preset = "tiny"\n[setup]\nprecison = "bf16"\n[method.fake]', "unknown setup 'precison'; did you mean"),
        ('preset = "tiny"\n[setup]\nprecision = "fp8"\n[method.fake]', "unknown precision 'fp8' (valid: bf16, fp32)"),
        ('preset = "tiny"\nseed = "x"\n[method.fake]', "key 'seed' must be a whole number or a list, got 'x'"),
    ],
)
def test_an_error_names_file_table_and_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ArbenchError) as caught:
        names(tmp_path, text)
    assert said in str(caught.value)
    assert "asked.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_told_with_the_bundled_sweeps(tmp_path: Path) -> None:
    with pytest.raises(
        ArbenchError, match=r"cannot read sweep file .*absent.toml.*bundled sweeps: fmnist, fmnist-full"
    ):
        sweep.load(tmp_path / "absent.toml")


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "asked.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ArbenchError, match="not a text file in UTF-8"):
        sweep.load(tmp_path / "asked.toml")


def test_setup_is_crossed_and_a_block_goes_over_the_head(tmp_path: Path) -> None:
    text = 'preset = "tiny"\n[setup]\nprecision = ["fp32", "bf16"]\nlabels = "random"\n[method.fake]\n'
    usual = "fake[preset=tiny,steps=4,cfg=1.5"
    assert names(tmp_path, text) == [f"{usual},labels=random,seed=0]", f"{usual},precision=bf16,labels=random,seed=0]"]
    over = text + 'setup = { precision = "fp32", labels = "balanced" }\n'
    assert names(tmp_path, over) == [f"{usual},seed=0]"]


def test_setup_from_outside_goes_over_the_file_s(tmp_path: Path) -> None:
    path = tmp_path / "asked.toml"
    path.write_text('preset = "tiny"\n[setup]\nprecision = "bf16"\n[method.fake]\nsetup = { weights = "trained" }\n')
    (trial,) = sweep.load(path, setup={"precision": "fp32", "weights": "random"}).trials
    assert (trial.setup.precision, trial.setup.weights) == ("fp32", "random")
    assert Trial.parse(trial.name, trial.images) == trial
