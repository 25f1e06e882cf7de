"""The site file: a TOML file with the options that a cluster asks for.

Every long option of sbatch is a key, with - or _ in it.

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
container = "apptainer exec --nv arbench.sif"    # goes before python's command
python = "python"                   # the default is the Python that runs this program
signal-seconds = 90                 # a job is warned this long before its end
poll-seconds = 30                   # how often squeue is asked
visibility-seconds = 60             # how late files may appear on other machines

[timing]                            # a table for one stage overrides the above: generate, quality, flops or timing
constraint = "h100"                 # timing has exclusive = true unless it is set otherwise

[train]                             # for arbench train: one process for each task of the job
nodes = 2
ntasks-per-node = 8
gpus-per-node = 8

``container`` is arbench's own key; sbatch's option of that name, for OCI bundles, cannot be given.

A sweep file's table [cluster] overrides the site file in the same way, and so does ``cluster = {...}`` in one of its
blocks.
"""

import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import files
from harness.cluster import slurm
from harness.errors import ArbenchError, shown, unknown

SWEEP = ("generate", "quality", "flops", "timing")
STAGES = (*SWEEP, "train")
ALIASES = {"cpus": "cpus-per-task", "memory": "mem"}
_OURS = "array clusters dependency error help job-name open-mode output parsable quiet signal test-only usage verbose"
OURS = frozenset((*_OURS.split(), "version", "wait", "wrap"))
"""Options that a site file cannot have. Some are set by arbench itself. With others, sbatch would not submit a job, or
would submit it where squeue does not look."""
LISTS, TEXTS = ("modules", "setup"), ("container", "python")
SECONDS = {"signal-seconds": 90, "poll-seconds": 30, "visibility-seconds": 60}
MOST = 10**9
"""Bound of a number in a site file."""
LONGEST_TIME = 20
"""Most characters of a time limit."""
DEFAULTS = {"time": "1:00:00"}
HINTS = {
    "account": ("sacctmgr", "-nP", "show", "assoc", "format=account"),
    "qos": ("sacctmgr", "-nP", "show", "qos", "format=name"),
    "feature": ("sinfo", "--noheader", "--format=%f"),
}
"""For each word that may occur in an error of sbatch: the command that lists the valid values."""


@dataclass(frozen=True)
class Resources:
    """The resources of one kind of job."""

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
        """Number of GPUs of a job, as far as the options say; else 0."""
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

    source: str = "site"  # its name in error messages
    common: Mapping[str, Any] = field(default_factory=dict)  # options of all stages
    stages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by stage; override ``common``

    def seconds(self, name: str) -> float:
        """The value of a key of SECONDS."""
        return float(self.common.get(name, SECONDS[name]))

    def over(self, table: Mapping[str, Any]) -> "Site":
        """This site, overridden by another table of the same keys."""
        if not table:
            return self
        other = parse(table, "[cluster]")
        stages = {
            stage: {**self.stages.get(stage, {}), **other.common, **other.stages.get(stage, {})} for stage in STAGES
        }
        return Site(f"{self.source}, [cluster]", {**self.common, **other.common}, stages)

    def resources(self, stage: str) -> Resources:
        """The resources of the jobs of a stage."""
        exclusive = {"exclusive": True} if stage == "timing" else {}
        found = {**DEFAULTS, **exclusive, **self.common, **self.stages.get(stage, {})}
        modules, setup, container, python, signal = (
            found.pop(name, None) for name in (*LISTS, *TEXTS, "signal-seconds")
        )
        lines = [*(f"module load {shlex.quote(module)}" for module in modules or ()), *(setup or ())]
        command = " ".join(part for part in (container, python or shlex.quote(sys.executable)) if part)
        options = {name: value for name, value in found.items() if name not in SECONDS and value is not False}
        return Resources(options, tuple(lines), command, signal or SECONDS["signal-seconds"])


def load(path: Path | None) -> Site:
    """Read a site file; without one, the cluster's defaults hold. Raises ArbenchError with the file and the key."""
    if path is None:
        return Site()
    return parse(files.read_toml(path, "site file"), str(path))


def parse(content: Mapping[str, Any], source: str) -> Site:
    """The site that a table describes. The names of sbatch's options are checked later, by ``check``."""
    stages = {name: _checked(table, f"{source}: [{name}]") for name, table in content.items() if name in STAGES}
    common = {name: value for name, value in content.items() if name not in STAGES}
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
        if name in OURS:
            raise ArbenchError(f"{where}: {given!r} is set by arbench itself")
        if not right:
            raise ArbenchError(f"{where}: {given!r} must be {wanted}, got {shown(value)}")
        found[name] = value
    if "time" in found:
        minutes(str(found["time"]), where)
    return found


def _right(name: str, value: Any) -> tuple[bool, str]:
    """Whether an option may have this value, and which values it may have, in words."""
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
    """The words of a shell command; empty if it is none."""
    try:
        return shlex.split(command) if command.isprintable() else []
    except ValueError:
        return []


def minutes(text: str, where: str = "time") -> int:
    """A time limit as Slurm writes it, in minutes, rounded up: M, M:S, H:M:S, D-H, D-H:M, D-H:M:S."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text, re.ASCII)
    if match is None or len(text) > LONGEST_TIME:
        raise ArbenchError(
            f"{where}: time {shown(text)} is none of Slurm's (valid: M, M:S, H:M:S, D-H, D-H:M, D-H:M:S)"
        )
    days, first, second, third = (int(part or 0) for part in match.groups())
    if match[1] is not None or match[4] is not None:
        return days * 1440 + first * 60 + second + -(-third // 60)
    return first + -(-second // 60)


def check(sites: Sequence[Site], stages: Sequence[str] = SWEEP) -> None:
    """Check sites against the cluster, before anything is submitted. Raises ArbenchError with what is wrong and what is
    valid.

    sbatch itself checks the values (--test-only). Stages with the same resources share one check.
    """
    valid = slurm.options() - OURS | {*LISTS, *TEXTS, *SECONDS}
    partitions, tried = slurm.partitions(), set()
    for site in sites:
        for name in (name for table in (site.common, *site.stages.values()) for name in table):
            if name not in valid:
                raise ArbenchError(f"{site.source}: {unknown('option', name, valid | set(ALIASES))}")
        for stage in stages:
            resources = site.resources(stage)
            for name in str(resources.options.get("partition", partitions[0])).split(","):
                if name not in partitions:
                    raise ArbenchError(f"{site.source}: {unknown('partition', name, partitions)}")
            if resources.in_words() not in tried:
                tried.add(resources.in_words())
                _try(site, stage, resources)
        _check_environment(site)


def _try(site: Site, stage: str, resources: Resources) -> None:
    flags = [f"--{name}" if value is True else f"--{name}={value}" for name, value in resources.options.items()]
    try:
        _test(flags)
    except slurm.UnreachableError as error:
        hint = ""
        for word, command in HINTS.items():
            if word in str(error).lower():
                names = set(re.split(r"[\s,]+", slurm.call(*command))) - {"", "(null)"}
                hint = f" (valid: {', '.join(sorted(names)) or 'none'})"
        raise ArbenchError(f"{site.source}: stage {stage}: {error}{hint}") from error


def _test(flags: Sequence[str]) -> None:
    """Have sbatch check options. An error that sbatch does not call invalid may be temporary, so the check is repeated:
    a slurmctld that has just started may not know its nodes yet."""
    for pause in (5, 10):
        try:
            slurm.call("sbatch", "--test-only", *flags, "--wrap=true")
            return
        except slurm.UnreachableError as error:
            if "invalid" in str(error).lower():
                raise
        time.sleep(pause)
    slurm.call("sbatch", "--test-only", *flags, "--wrap=true")


def _check_environment(site: Site) -> None:
    """Check the programs and modules that the jobs need, as far as this machine shows."""
    for options in (site.common, *site.stages.values()):
        for name in TEXTS:
            if (command := options.get(name)) and shutil.which(shlex.split(command)[0]) is None:
                raise ArbenchError(f"{site.source}: {name}: no command {shlex.split(command)[0]!r} here")
        if modules := options.get("modules"):
            line = f"module load {shlex.join(modules)}"
            found = subprocess.run(["bash", "-lc", line], capture_output=True, text=True, check=False)
            if found.returncode or "error" in found.stderr.lower():
                raise ArbenchError(f"{site.source}: modules: {line!r} fails here: {found.stderr.strip()}")
