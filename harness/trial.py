"""A trial: one method with fixed settings, to be measured.

A trial has a canonical name (see ``Trial.name``). It also has a key: a hash of its settings, weights and code.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any
from urllib.parse import quote, unquote

from harness import registry
from harness.errors import ArbenchError, shown, unknown
from harness.method import KnobValue, Method
from harness.numbers import as_number, checked_int, is_number
from harness.sampling import SAMPLING_FIELDS, Sampling
from harness.setup import SETUP_FIELDS, Setup

ASKED = ("method", "preset", "knobs", "sampling", "seed", "images", "setup")
"""The settings that define a trial: the arguments of ``Trial.of``, and the keys of a record's ``trial``."""

RESERVED = ("preset", *SAMPLING_FIELDS, *SETUP_FIELDS, "seed")
"""Names that a knob cannot have, because a trial's name would then be ambiguous."""

_NAME = re.compile(r"(?P<method>[^\[\]]+)\[(?P<settings>[^\[\]]*)\]")


@dataclass(frozen=True)
class Trial:
    """One method with fixed settings, to be measured."""

    method: str
    preset: str
    knobs: Mapping[str, KnobValue]  # complete, as ``Method.resolve`` gives them
    sampling: Sampling
    seed: int
    images: int  # number of images to generate, at least 1
    setup: Setup = field(default_factory=Setup)

    @classmethod
    def of(
        cls,
        method: str,
        preset: str,
        knobs: Mapping[str, Any] | None = None,
        sampling: Mapping[str, Any] | None = None,
        seed: int = 0,
        images: int = 5000,
        setup: Mapping[str, Any] | None = None,
    ) -> "Trial":
        """The trial with these settings. All other settings have their defaults.

        Raises ArbenchError for an unknown method, preset, knob, sampling or setup field, and for a value out of range.
        """
        owner = registry.get(method)
        clash = {knob.name for knob in owner.knobs} & set(RESERVED)
        if clash:
            raise ArbenchError(f"method {method!r} has a knob with a reserved name: {', '.join(sorted(clash))}")
        default = owner.preset_named(preset)
        return cls(
            method=method,
            preset=preset,
            knobs=owner.resolve(knobs or {}, preset),
            sampling=resolve_sampling(default.sampling, sampling or {}),
            seed=checked_int("seed", seed, 0, 2**64 - 1),
            images=checked_int("images", images, 1, 10**9),
            setup=default.setup.but(setup or {}),
        )

    @classmethod
    def parse(cls, name: str, images: int) -> "Trial":
        """The trial with this canonical name. The name does not say how many images: ``images`` says this."""
        match = _NAME.fullmatch(name)
        if match is None:
            raise ArbenchError(
                f"{name!r} is no trial's name (they look like ear[preset=fmnist,steps=7,cfg=1.5,seed=0])"
            )
        given: dict[str, str] = {}
        for setting in match["settings"].split(","):
            left, equals, right = setting.partition("=")
            if not equals or left in given:
                raise ArbenchError(f"{name!r} is no trial's name: {setting!r} is not one name=value")
            given[left] = unquote(right)
        if "preset" not in given or "seed" not in given:
            raise ArbenchError(f"{name!r} is no trial's name: it lacks preset= or seed=")
        owner = registry.get(match["method"])
        kinds = {knob.name: knob.kind for knob in owner.knobs}
        preset, seed = given.pop("preset"), number(given.pop("seed"))
        sampling = {left: given.pop(left) for left in SAMPLING_FIELDS if left in given}
        setup = {left: given.pop(left) for left in SETUP_FIELDS if left in given}
        return cls.of(
            owner.name,
            preset,
            {left: right if kinds.get(left) == "choice" else number(right) for left, right in given.items()},
            {left: right if left == "cfg_schedule" else number(right) for left, right in sampling.items()},
            seed,
            images,
            {left: number(right) if left == "compute_batch" else right for left, right in setup.items()},
        )

    @property
    def owner(self) -> type[Method]:
        """The method's class."""
        return registry.get(self.method)

    @property
    def name(self) -> str:
        """The canonical name, which logs, folders, tables and URLs use.

        The name contains:
        - the method
        - the preset
        - each knob whose ``axis`` is True, even at its default; sweeps usually vary such knobs
        - each other knob that differs from its default
        - cfg, even if it is the preset's
        - each other field of sampling and setup that differs from the preset's
        - the seed
        """
        default = self.owner.preset_named(self.preset)
        settings: dict[str, Any] = {"preset": self.preset}
        for knob in self.owner.knobs_of(self.preset):
            if knob.axis or self.knobs[knob.name] != knob.default:
                settings[knob.name] = self.knobs[knob.name]
        for own, usual, names in (
            (self.sampling, default.sampling, SAMPLING_FIELDS),
            (self.setup, default.setup, SETUP_FIELDS),
        ):
            for name in names:
                if name == "cfg" or getattr(own, name) != getattr(usual, name):
                    settings[name] = getattr(own, name)
        settings["seed"] = self.seed
        return f"{self.method}[{','.join(f'{left}={_text(right)}' for left, right in settings.items())}]"

    def settings(self) -> dict[str, Any]:
        """All settings of the trial, as plain values: the ``trial`` part of its record."""
        return {
            "method": self.method,
            "preset": self.preset,
            "knobs": dict(self.knobs),
            "sampling": asdict(self.sampling),
            "seed": self.seed,
            "images": self.images,
            "setup": asdict(self.setup),
        }


def resolve_sampling(default: Sampling, given: Mapping[str, Any]) -> Sampling:
    """A copy of ``default`` in which the fields named in ``given`` have the values from ``given``. Each value is
    converted to the type of its field. Raises ArbenchError if a field is unknown, or if a value has another type or is
    out of range."""
    kinds = {field.name: field.type for field in fields(Sampling)}
    changed: dict[str, Any] = {}
    for name, value in given.items():
        if name not in kinds:
            raise unknown("sampling setting", name, kinds)
        kind = kinds[name]
        if kind is str or kind == "str":
            right = isinstance(value, str)
        else:
            whole = kind is int or kind == "int"
            right = is_number(value) and not (whole and value % 1)
            value = as_number(value, whole) if right else value
        if not right:
            raise ArbenchError(f"sampling: {name} = {shown(value)} is not of type {getattr(kind, '__name__', kind)}")
        changed[name] = value
    return replace(default, **changed)


def _text(value: KnobValue) -> str:
    """A knob's value as text, for a trial's name. Whole floats lose their .0. Characters other than ASCII letters,
    digits and ``_.-~+`` are percent-encoded, as in URLs."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return quote(str(value), safe="+")


def number(text: str) -> Any:
    """The int or float that a text spells. If the text spells no number, the text itself is returned.

    No error is raised here. The caller must check that the value is valid for the setting in question.
    """
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
