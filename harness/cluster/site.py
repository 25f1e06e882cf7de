"""The site file: a TOML file with the options that a cluster asks for.

Every long option of sbatch can be a key, written with - or with _. The comments below use the words job and task as
Slurm does.

partition = "gpu"                   # all keys are optional
account = "vision"
gpus = 1
cpus = 8                            # or cpus-per-task
memory = "32G"                      # or mem
time = "4:00:00"                    # the default is 1 hour
constraint = "a100"
no-kill = true                      # an option without a value
modules = ["cuda/12.4"]             # module load, in every job, first
setup = ["source ~/env/bin/activate"]    # lines of shell, run next
container = "apptainer exec --nv arbench.sif"    # stands before the command that runs Python
python = "python"                   # the default is the Python that runs this program
signal-seconds = 90                 # a job is warned this long before its end
poll-seconds = 30                   # how often squeue is asked
visibility-seconds = 60             # how late files may appear on other machines

[timing]                            # such a table overrides the above for one stage: generate, quality, flops, timing
constraint = "h100"                 # timing has exclusive = true unless it is set otherwise

[train]                             # for arbench train: each task of the Slurm job is one process of the training
nodes = 2
ntasks-per-node = 8
gpus-per-node = 8

``container`` is arbench's own key; sbatch's option of that name, for OCI bundles, cannot be given.

A sweep file can have a table [cluster] with keys of a site file. The values in this table replace the values of the
site file under the same keys. A block of the sweep file can have such a table, too: ``cluster = {...}``.
"""

import re
import shlex
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness import files
from harness.errors import ArbenchError, shown, unknown
from harness.stages import STAGES

KINDS = (*STAGES, "train")
"""The kinds of jobs that have a table of their own in a site file."""
ALIASES = {"cpus": "cpus-per-task", "memory": "mem"}
LISTS, TEXTS = ("modules", "setup"), ("container", "python")
DEFAULTS = {"time": "1:00:00"}
SECONDS = {"signal-seconds": 90, "poll-seconds": 30, "visibility-seconds": 60}
MOST = 10**9
"""Bound of a number in a site file."""
LONGEST_TIME = 20
"""A time limit may have at most so many characters."""


@dataclass(frozen=True)
class Resources:
    """The resources that each job of a stage gets, or each job of ``arbench train``."""

    options: Mapping[str, Any]  # options of sbatch, by their long names; True for an option without a value
    setup: tuple[str, ...]  # lines of shell that run first
    python: str  # the command that runs Python
    signal_s: int  # a job is warned so many seconds before its end

    @property
    def minutes(self) -> int:
        """The time limit in minutes."""
        return minutes(str(self.options["time"]))

    @property
    def gpus(self) -> int:
        """Number of GPUs of a job; 0 if no option gives the number."""
        for name in ("gpus", "gpus-per-node", "gpus-per-task", "gres"):
            counts = re.findall(r"(?:gpu[^,]*:|^|:)(\d+)(?=,|$|\()", str(self.options.get(name, "")))
            if counts:
                return sum(map(int, counts))
        return 0

    def in_words(self) -> str:
        """The options in one line."""
        return " ".join(f"{name}={value}" for name, value in sorted(self.options.items()))


@dataclass(frozen=True)
class Site:
    """The content of a site file."""

    source: str = "site"  # the file's name in error messages
    common: Mapping[str, Any] = field(default_factory=dict)  # options of all stages
    stages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # options by stage; they override ``common``
    defaults: Mapping[str, Any] = field(default_factory=dict)  # options of the scheduler; ``common`` overrides them

    def names(self) -> set[str]:
        """All keys in the file: those at the top level, and those in the tables of single stages."""
        return {name for table in (self.common, *self.stages.values()) for name in table}

    def has_only(self, valid: Collection[str]) -> None:
        """Raise ArbenchError if the file has a key that is not in ``valid``."""
        for name in sorted(self.names() - set(valid)):
            others = {alias for alias, option in ALIASES.items() if option in valid}
            raise ArbenchError(f"{self.source}: {unknown('option', name, others.union(valid))}")

    def seconds(self, name: str) -> float:
        """The value of the key ``name``, in seconds.

        name: a key of the dict SECONDS, such as ``poll-seconds``

        If the site file lacks the key, the value is the scheduler's default. If the scheduler has no default for the
        key, the value is that in SECONDS.
        """
        return float(self.common.get(name, self.defaults.get(name, SECONDS[name])))

    def over(self, table: Mapping[str, Any]) -> "Site":
        """This site, with the values of ``table`` in place of the site's values under the same keys."""
        if not table:
            return self
        other = parse(table, "[cluster]")
        stages = {
            stage: {**self.stages.get(stage, {}), **other.common, **other.stages.get(stage, {})} for stage in KINDS
        }
        return replace(self, source=f"{self.source}, [cluster]", common={**self.common, **other.common}, stages=stages)

    def resources(self, stage: str) -> Resources:
        """The resources of the jobs of a stage."""
        exclusive = {"exclusive": True} if stage == "timing" else {}
        found = {**DEFAULTS, **self.defaults, **exclusive, **self.common, **self.stages.get(stage, {})}
        modules, setup, container, python, signal = (
            found.pop(name, None) for name in (*LISTS, *TEXTS, "signal-seconds")
        )
        lines = [*(f"module load {shlex.quote(module)}" for module in modules or ()), *(setup or ())]
        command = " ".join(part for part in (container, python or shlex.quote(sys.executable)) if part)
        options = {name: value for name, value in found.items() if name not in SECONDS and value is not False}
        return Resources(options, tuple(lines), command, signal or SECONDS["signal-seconds"])


def load(path: Path | None, defaults: Mapping[str, Any]) -> Site:
    """Read a site file. If ``path`` is None, the site has only the defaults. Raises ArbenchError with the file and
    the key."""
    if path is None:
        return Site(defaults=defaults)
    return replace(parse(files.read_toml(path, "site file"), str(path)), defaults=defaults)


def parse(content: Mapping[str, Any], source: str) -> Site:
    """The site that a table describes. Whether the scheduler knows the keys is checked later."""
    stages = {name: _checked(table, f"{source}: [{name}]") for name, table in content.items() if name in KINDS}
    common = {name: value for name, value in content.items() if name not in KINDS}
    return Site(source, _checked(common, source), stages)


def _checked(table: Any, where: str) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise ArbenchError(f"{where}: expected a table, got {shown(table)}")
    found: dict[str, Any] = {}
    for given, value in table.items():
        name = ALIASES.get(given, given.replace("_", "-"))
        if name in found:
            raise ArbenchError(f"{where}: {name!r} is given twice")
        right, wanted = _right(name, value)
        if not right:
            raise ArbenchError(f"{where}: {given!r} must be {wanted}, got {shown(value)}")
        found[name] = value
    if "time" in found:
        minutes(str(found["time"]), where)
    return found


def _right(name: str, value: Any) -> tuple[bool, str]:
    """Whether ``value`` is valid for the option ``name``, and a description of the valid values."""
    if name in LISTS:
        lines = isinstance(value, list) and all(isinstance(one, str) and "\0" not in one for one in value)
        return lines, "a list of strings"
    if name in TEXTS:
        return isinstance(value, str) and bool(_words(value)), "a command of shell"
    if name in SECONDS:
        return type(value) is int and 0 < value <= MOST, f"a whole number of seconds from 1 to {MOST}"
    if isinstance(value, str):
        return value.isprintable(), "a string in one line"
    return isinstance(value, int) and -MOST < value < MOST, "a string, a number of up to 9 digits or true"


def _words(command: str) -> list[str]:
    """Split a shell command into words; empty if the text is no shell command."""
    try:
        return shlex.split(command) if command.isprintable() else []
    except ValueError:
        return []


def minutes(text: str, where: str = "time") -> int:
    """Convert a time limit in one of Slurm's forms (M, M:S, H:M:S, D-H, D-H:M, D-H:M:S) into minutes, rounded up."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text, re.ASCII)
    if match is None or len(text) > LONGEST_TIME:
        raise ArbenchError(
            f"{where}: time {shown(text)} is none of Slurm's (valid: M, M:S, H:M:S, D-H, D-H:M, D-H:M:S)"
        )
    days, first, second, third = (int(part or 0) for part in match.groups())
    if match[1] is not None or match[4] is not None:
        return days * 1440 + first * 60 + second + -(-third // 60)
    return first + -(-second // 60)
