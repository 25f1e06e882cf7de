"""Recipes and `arbench train`: order, what is written, and going on after a kill."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness import cli, registry
from harness.checkpoints.tensors import read_about, read_weights
from harness.errors import ArbenchError
from harness.training import recipe
from harness.training.loop import Plan, Trainee
from harness.training.recipe import Context, Recipe, finished, recipe_named, recipes, train
from tests.helpers.fakes import FakeMethod
from tests.helpers.sweeping import tiny_images


class Tiny(Trainee):
    """A linear classifier of tiny images."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(16, 2)

    def loss(self, batch: Sequence[Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        return {"loss": F.cross_entropy(self.net(batch[0].flatten(1).float() / 255).float(), batch[1])}


def _prepare(context: Context) -> tuple[Trainee, Sequence[Tensor]]:
    training = context.training
    return Tiny(), (training.images, training.labels)


def _figures(trainee: Trainee, context: Context) -> Mapping[str, float]:
    assert not trainee.training
    return {"held_out": float(len(context.reference.images))}


class Point:
    """An entry point of the group ``arbench.recipes``."""

    def __init__(self, *offered: Recipe) -> None:
        self.offered = offered

    def load(self) -> tuple[Recipe, ...]:
        return self.offered


@pytest.fixture
def offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Offers recipes of these names, each with what it needs, in the place of the real ones."""
    monkeypatch.setattr(recipe, "training_images", lambda name, folder, download: tiny_images(name))
    monkeypatch.setattr(recipe, "reference_images", tiny_images)

    def offering(**needs: Sequence[str]) -> dict[str, Recipe]:
        made = [
            Recipe(
                name=name,
                weights=tmp_path / "weights" / f"{name}.safetensors",
                plan=Plan(epochs=2, batch=8, lr=1e-2, seed=5),
                prepare=_prepare,
                export=lambda trainee: trainee.net,  # type: ignore[arg-type, return-value]
                figures=_figures,
                needs=tuple(need.replace("_", "-") for need in wanted),
                data="tiny",
            )
            for name, wanted in ((name.replace("_", "-"), wanted) for name, wanted in needs.items())
        ]
        monkeypatch.setattr(recipe, "entry_points", lambda group: [Point(*made[:1]), Point(*made[1:])])
        return {one.name: one for one in made}

    yield offering


def test_each_recipe_comes_after_those_it_needs(offer: Any) -> None:
    offer(ear=["vq"], actvar=["var"], var=["msvq"], msvq=["cnn"], vq=["cnn"], cnn=[])
    order = list(recipes())
    assert sorted(order) == ["actvar", "cnn", "ear", "msvq", "var", "vq"]
    for name, found in recipes().items():
        assert all(order.index(need) < order.index(name) for need in found.needs)


def test_the_bundled_recipes_stand_in_order_and_write_into_their_own_package() -> None:
    found = recipes()
    order = list(found)
    for name, one in found.items():
        assert all(order.index(need) < order.index(name) for need in one.needs)
        assert one.weights.name == f"{name}.safetensors"
        assert one.weights.parent.name == "weights"


def test_every_weights_file_of_a_method_comes_from_a_recipe() -> None:
    made = {one.weights for one in recipes().values()}
    for method in registry.names():
        owner = registry.get(method)
        if owner.__module__.split(".")[0] in ("baselines", "methods"):
            for name, preset in owner.presets.items():
                if preset.data == "fmnist":
                    assert set(owner.weight_files(name)) <= made


def test_an_unknown_recipe_is_named_with_the_valid_ones(offer: Any) -> None:
    offer(vq=[], ear=["vq"])
    with pytest.raises(ArbenchError, match=r"unknown recipe 'eer'; did you mean 'ear'\? .valid: ear, vq"):
        recipe_named("eer")


def test_a_need_that_nobody_offers_is_named(offer: Any) -> None:
    offer(ear=["vq"])
    with pytest.raises(ArbenchError, match="unknown recipe that ear needs 'vq'"):
        recipes()


def test_weights_that_are_needed_come_first(offer: Any, tmp_path: Path) -> None:
    made = offer(vq=[], ear=["vq"])
    with pytest.raises(ArbenchError, match="ear needs the weights of vq: run 'arbench train vq' first"):
        train(made["ear"], Context("tiny", tmp_path / "runs"))


def test_weights_are_written_with_where_they_came_from(offer: Any, tmp_path: Path) -> None:
    made = offer(vq=[])["vq"]
    about = train(made, Context("tiny", tmp_path / "runs"))
    assert read_about(made.weights) == {**about, "plan": {**about["plan"], "betas": [0.9, 0.95]}}
    assert about["recipe"] == "vq"
    assert about["plan"]["seed"] == 5
    assert about["data"] == "the tiny data"
    assert about["commit"]
    assert about["figures"] == {"held_out": 40.0}
    assert about["last"]["step"] == 10
    read_weights(made.weights, nn.Linear(16, 2))
    assert (tmp_path / "runs" / "vq" / "log.jsonl").exists()
    assert not (tmp_path / "runs" / "vq" / "state.pt").exists()


def test_the_same_recipe_gives_the_same_weights(offer: Any, tmp_path: Path) -> None:
    made = offer(vq=[])["vq"]
    nets = [nn.Linear(16, 2), nn.Linear(16, 2)]
    for place, net in enumerate(nets):
        torch.manual_seed(place)
        train(made, Context("tiny", tmp_path / f"runs{place}"))
        read_weights(made.weights, net)
    assert torch.equal(nets[0].weight, nets[1].weight)


def test_a_recipe_is_finished_until_plan_needs_or_weights_change(offer: Any, tmp_path: Path) -> None:
    made, runs = offer(vq=[], ear=["vq"]), tmp_path / "runs"
    assert not finished(made["vq"], runs)
    for name in ("vq", "ear"):
        train(made[name], Context("tiny", runs))
        assert finished(made[name], runs)
    assert not finished(replace(made["ear"], plan=Plan(epochs=9, batch=8, lr=1e-2)), runs)
    assert not finished(made["ear"], tmp_path / "elsewhere")
    train(replace(made["vq"], plan=Plan(epochs=9, batch=8, lr=1e-2)), Context("tiny", runs))
    assert not finished(made["ear"], runs), "it was trained on the tokens of another tokenizer"
    made["ear"].weights.unlink()
    assert not finished(made["ear"], runs)


def arbench(*words: str, runs: Path) -> int:
    return cli.main(["train", *words, "--runs", str(runs)])


def test_all_recipes_are_trained_once_in_order(offer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, runs = offer(ear=["vq"], vq=[]), tmp_path / "runs"
    assert arbench("--all", runs=runs) == 0
    said = capsys.readouterr().out
    assert said.index("training vq") < said.index("training ear")
    made["ear"].weights.unlink()
    assert arbench("--all", runs=runs) == 0
    said = capsys.readouterr().out
    assert "vq: finished before" in said
    assert "training ear" in said
    assert "training vq" not in said


def test_a_method_and_a_recipe_can_be_named(
    offer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(fake_tiny=[], vq_tiny=[])
    monkeypatch.setattr(registry, "names", lambda: ["fake"])
    monkeypatch.setattr(registry, "get", lambda name: FakeMethod)
    assert arbench("fake", "--preset", "tiny", runs=tmp_path / "runs") == 0
    assert "training fake-tiny" in capsys.readouterr().out
    assert arbench("vq-tiny", "--threads", str(torch.get_num_threads()), runs=tmp_path / "runs") == 0
    assert "training vq-tiny" in capsys.readouterr().out
    assert arbench("fake", "--preset", "huge", runs=tmp_path / "runs") == 2
    assert "unknown preset of fake 'huge' (valid: tiny)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["eer"], "unknown recipe 'eer'"),
        (["ear-fmnist", "--data", "no-such-folder"], "cannot read no-such-folder/train-images-idx3-ubyte.gz"),
        (["ear", "--preset", "imagenet"], "unknown preset of ear 'imagenet'"),
    ],
)
def test_what_cannot_be_trained_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert arbench(*words, runs=tmp_path / "runs") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.parametrize("words", [[], ["--all", "ear"], ["ear", "--threads", "0"], ["ear", "--threads", "many"]])
def test_a_command_line_that_makes_no_sense_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["train", *words])
    assert caught.value.code == 2
    assert "usage: arbench train" in capsys.readouterr().err


def test_a_folder_of_runs_that_cannot_be_written_is_told(
    offer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(vq=[])
    (tmp_path / "file").write_text("in the way")
    assert arbench("vq", runs=tmp_path / "file") == 2
    assert "cannot write" in capsys.readouterr().err
