"""The clocks of a record: how the method ran while it was timed.

A method runs captured (a CUDA graph is replayed), compiled (torch.compile), or eager (Python calls each operation).
``latency`` and ``throughput`` of a record are its first clock. On CUDA, the record of a captured or compiled method has
a second clock: the times of the same method run eagerly.

Code that only reads records can import this module alone, without torch.
"""

from collections.abc import Mapping
from typing import Any

CAPTURED, COMPILED, EAGER = "captured", "compiled", "eager"
CLOCKS: Mapping[str, str] = {"graph": CAPTURED, "compile": COMPILED, "off": EAGER}
"""Mode in which a method ran (harness.execution.modes) -> its clock."""
KINDS = ("latency", "throughput")
"""The two times of a clock, as a record names them."""
Times = Mapping[str, Any]
"""``session``, ``latency`` and ``throughput``, as the timing part of a record has them."""


def clock(timing: Mapping[str, Any]) -> str:
    """The first clock of a record: captured, compiled or eager; "" if the record has no times.

    Records of earlier versions do not state it. What was not compiled in them was eager.

    timing: the timing part of a record.
    """
    if not timing:
        return ""
    if (timing.get("protocol") or {}).get("compile", "none") != "none":  # the key of earlier versions
        return COMPILED
    return CLOCKS.get(_mode(timing), EAGER)


def on_cuda(timing: Mapping[str, Any]) -> bool:
    """Whether the times were taken on CUDA."""
    return str(timing.get("device", "")).startswith("cuda")


def cannot_be_captured(timing: Mapping[str, Any]) -> bool:
    """Whether the method was to be captured, but cannot be, so that its times are eager."""
    return bool(timing.get("capture")) and _mode(timing) == "off"


def why_eager(timing: Mapping[str, Any]) -> str:
    """Why times on CUDA are eager: what stands in the way of capturing, or that the protocol asks for it.

    Empty for all other times, and for records of earlier versions, which could not capture.
    """
    if cannot_be_captured(timing):
        return str(timing["capture"].get("why") or "not captured")
    asked = (timing.get("protocol") or {}).get("capture") == "off"
    return "not captured: the protocol has capture off" if asked and on_cuda(timing) else ""


def in_words(timing: Mapping[str, Any]) -> str:
    """The first clock, with the reason if it is eager on CUDA: ``captured``, ``eager (not captured: ...)``.

    Empty if the record has no times.
    """
    why = why_eager(timing)
    return f"{clock(timing)} ({why})" if why else clock(timing)


def parts(times: Times | None) -> list[Mapping[str, Any]]:
    """The latency and the throughput of one clock, so far as it has them. Other parts of a record are not looked at:
    they may have any form."""
    found = [(times or {}).get(kind) for kind in KINDS]
    return [one for one in found if isinstance(one, Mapping)]


def noisy(times: Times | None) -> bool:
    """Whether the latency or the throughput of one clock is noisy."""
    return any(one.get("noisy") for one in parts(times))


def disturbed(times: Times | None) -> bool:
    """Whether the GPU was throttled or shared while the latency or the throughput of one clock was taken."""
    return any((one.get("gpu") or {}).get("disturbed") for one in parts(times))


def energy_disturbed(timing: Mapping[str, Any]) -> bool:
    """Whether the GPU was throttled or shared while the energy of a record was taken."""
    return bool(((timing.get("throughput") or {}).get("joules_per_image_gpu") or {}).get("disturbed"))


def has_second(timing: Mapping[str, Any]) -> bool:
    """Whether a record has a second clock."""
    return isinstance(timing.get("eager"), Mapping)


def eager(timing: Mapping[str, Any]) -> Times | None:
    """The eager times of a record on CUDA. None if it has none, or if it does not say whether it was captured.

    They are the second clock. If the method cannot be captured, they are its only clock. The second clock has a session
    of its own: its rounds were not those of the first clock.
    """
    if has_second(timing):
        session = timing.get("session")
        return {**timing["eager"], "session": session and f"{session}, eager"}
    return timing if cannot_be_captured(timing) else None


def eager_value(record: Mapping[str, Any], kind: str, name: str) -> Any:
    """A value of a record's eager times; None if there is none.

    kind: ``latency`` or ``throughput``
    name: of the value, such as ``total_s``
    """
    found = eager(record.get("timing") or {})
    return None if found is None else (found.get(kind) or {}).get(name)


def _mode(timing: Mapping[str, Any]) -> str:
    return str((timing.get("capture") or {}).get("mode", "off"))
