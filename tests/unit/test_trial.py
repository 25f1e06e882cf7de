"""Trials: names that lead back to the trial, and keys that change with all that a trial depends on."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import registry
from harness.errors import ArbenchError
from harness.hashing import digest, file_sha256
from harness.identity import source
from harness.identity.source import source_sha256
from harness.sampling import CFG_SCHEDULES, Sampling
from harness.trial import Trial
from tests.helpers import fakes, sweeping


@pytest.fixture(autouse=True, scope="module")
def _small() -> Iterator[None]:
    with sweeping.in_place():
        yield


def test_a_name_shows_axes_always_and_the_rest_where_it_differs() -> None:
    assert Trial.of("fake", "tiny").name == "fake[preset=tiny,steps=4,cfg=1.5,seed=0]"
    unusual = Trial.of("fake", "tiny", {"steps": 2, "shade": "dark"}, {"cfg": 2, "top_k": 5}, seed=7)
    assert unusual.name == "fake[preset=tiny,steps=2,shade=dark,cfg=2,top_k=5,seed=7]"


@given(
    steps=st.integers(1, 4),
    shade=st.sampled_from(["plain", "dark"]),
    warmth=st.floats(0, 1),
    sampling=st.fixed_dictionaries(
        {},
        optional={
            "cfg": st.floats(0, 100),
            "cfg_schedule": st.sampled_from(CFG_SCHEDULES),
            "temperature": st.floats(1e-6, 100),
            "top_k": st.integers(0, 10**6),
            "top_p": st.floats(1e-9, 1),
        },
    ),
    seed=st.integers(0, 2**64 - 1),
)
def test_a_name_leads_back_to_the_trial(
    steps: int, shade: str, warmth: float, sampling: dict[str, Any], seed: int
) -> None:
    trial = Trial.of("fake", "tiny", {"steps": steps, "shade": shade, "warmth": warmth}, sampling, seed, 100)
    assert Trial.parse(trial.name, 100) == trial


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fake", "no trial's name"),
        ("fake[preset=tiny,steps=4,cfg=1.5]", "lacks preset= or seed="),
        ("fake[preset=tiny,steps,seed=0]", "'steps' is not one name=value"),
        ("fake[preset=tiny,steps=2,steps=4,seed=0]", "'steps=4' is not one name=value"),
        ("fake[preset=tiny,steps=many,seed=0]", "steps = 'many' is out of range"),
        ("fake[preset=tiny,stesp=4,seed=0]", "did you mean 'steps'?"),
        ("fake[preset=tiny,steps=4,seed=-1]", "seed = -1 is out of range"),
        ("fakd[preset=tiny,seed=0]", "did you mean 'fake'?"),
    ],
)
def test_what_is_no_name_is_refused_with_the_reason(name: str, said: str) -> None:
    with pytest.raises(ArbenchError, match=r".*") as caught:
        Trial.parse(name, 100)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"knobs": {"steps": 9}}, "knob steps = 9 is out of range (valid: int from 1 to 4)"),
        ({"sampling": {"cgf": 2}}, "unknown sampling setting 'cgf'; did you mean 'cfg'?"),
        ({"sampling": {"cfg": "high"}}, "sampling: cfg = 'high' is not of type float"),
        ({"sampling": {"top_k": 1.5}}, "sampling: top_k = 1.5 is not of type int"),
        ({"sampling": {"temperature": 0}}, "temperature = 0.0 is out of range"),
        ({"preset": "huge"}, "unknown preset of fake 'huge' (valid: lost, tiny)"),
        ({"images": 0}, "images = 0 is out of range"),
        ({"seed": True}, "seed = True is out of range"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_valid(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ArbenchError) as caught:
        Trial.of(**{"method": "fake", "preset": "tiny", **settings})
    assert said in str(caught.value)


def test_whole_and_fractional_spellings_are_one_trial() -> None:
    assert Trial.of("fake", "tiny", {"steps": 2.0}, {"cfg": 2}) == Trial.of("fake", "tiny", {"steps": 2}, {"cfg": 2.0})
    assert Trial.of("fake", "tiny", sampling={"cfg": 2}).sampling == Sampling(cfg=2.0)


def test_a_digest_does_not_depend_on_the_order_of_a_dict() -> None:
    assert digest({"a": 1, "b": [1.5, None]}) == digest({"b": [1.5, None], "a": 1})
    assert digest({"a": 1}) != digest({"a": "1"})
    with pytest.raises(ValueError, match="JSON"):
        digest(float("nan"))


def test_a_file_is_hashed_anew_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    first = file_sha256(path)
    assert file_sha256(path) == first
    path.write_bytes(b"other")
    assert file_sha256(path) != first
    with pytest.raises(ArbenchError, match="cannot read .*missing"):
        file_sha256(tmp_path / "missing")


PLUGIN = '''"""A plug-in."""
from {package}.parts import scale

class Owner:
    """What is registered."""
    def draw(self):
        return scale(2)  # twice
'''


def _plugin(folder: Path, package: str, draw: str, parts: str) -> type:
    (folder / package).mkdir(parents=True)
    (folder / package / "__init__.py").touch()
    (folder / package / "method.py").write_text(draw.replace("{package}", package))
    (folder / package / "parts.py").write_text(parts)
    namespace: dict[str, Any] = {}
    exec(f"from {package}.method import Owner", namespace)
    return namespace["Owner"]


def test_the_source_hash_follows_imports_and_ignores_comments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = "def scale(x):\n    return 2 * x\n"
    layouts = {
        "same": (PLUGIN, parts),
        "commented": (PLUGIN.replace("# twice", "# two times").replace("registered", "known"), "# why\n" + parts),
        "changed": (PLUGIN, parts.replace("2 * x", "3 * x")),
    }
    found = {}
    for name, (method, helper) in layouts.items():  # each under the same package name, in a folder of its own
        import sys

        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(tmp_path / name))
            for module in [module for module in sys.modules if module.partition(".")[0] == "plugged"]:
                del sys.modules[module]
            found[name] = source_sha256(_plugin(tmp_path / name, "plugged", method, helper))
    assert found["same"] == found["commented"]
    assert found["same"] != found["changed"]


def test_the_source_hash_of_a_method_covers_the_classes_it_builds_on() -> None:
    assert source_sha256(sweeping.SweepMethod) != source_sha256(fakes.FakeMethod)


def test_a_module_of_the_harness_that_moves_changes_no_methods_source_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = source._parsed

    def moved(module: str) -> ast.Module | None:
        """The same source, as it would be after every module that it imports of harness had moved."""
        tree = parsed(module)
        for node in ast.walk(tree or ast.Module([], [])):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("harness"):
                node.module = f"{node.module}.elsewhere"
        return tree

    owners = [registry.get(name) for name in registry.names()]
    before = [source_sha256(owner) for owner in owners]
    monkeypatch.setattr(source, "_parsed", moved)
    assert [source_sha256.__wrapped__(owner) for owner in owners] == before


def test_the_source_hash_still_sees_a_method_that_calls_something_else_of_the_harness() -> None:
    trees = [ast.parse(f"from harness.sampling import draw\n\ndef sample():\n    return draw({n})") for n in (1, 2)]
    assert len({digest(source._plain(source._without_harness(tree))) for tree in trees}) == 2


ODD_SYNTAX = r"""
@decorated(1.5, b"\x00", None, ..., 2j)
class A(B, metaclass=C):
    x: int = f"{a!r:>{width}} {b['key']} {c=}" 'and "this"' f"{{}}"
    async def f(self, *args, key=-1, **more) -> "text":
        match args:
            case [1, *rest] if (n := len(rest)) > 2: return lambda y: [z async for z in y if not z]
            case {"a": None}: del x[1:2, ::3]
"""


GOLD = "c2d2d0cc146da066de33b493bc3cd2aa8c0be54a727a789e0aa3e31ff6fc6816"


def test_every_python_makes_the_same_key_of_the_same_source() -> None:
    """CI runs this on each: the text that ast.unparse makes of an f-string is another one from 3.12 on."""
    assert digest(source._plain(ast.parse(ODD_SYNTAX))) == GOLD
