"""Checks site files against the cluster, before anything is submitted."""

import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence

from harness.cluster.schedulers import UnreachableError
from harness.cluster.site import LISTS, SECONDS, TEXTS, Resources, Site
from harness.cluster.slurm import commands
from harness.errors import ArbenchError, unknown

_OURS = "array clusters dependency error help job-name open-mode output parsable quiet signal test-only usage verbose"
OURS = frozenset((*_OURS.split(), "version", "wait", "wrap"))
"""Options that a site file cannot have. Some are set by arbench itself. With others, sbatch would not submit a job, or
would submit the job where squeue does not look."""
HINTS = {
    "account": ("sacctmgr", "-nP", "show", "assoc", "format=account"),
    "qos": ("sacctmgr", "-nP", "show", "qos", "format=name"),
    "feature": ("sinfo", "--noheader", "--format=%f"),
}
"""For each word that may occur in an error of sbatch: the command that lists the valid values."""


def check(sites: Sequence[Site], stages: Sequence[str]) -> None:
    """Check site files against the cluster. Raises ArbenchError, which says what is wrong and what is valid.

    sbatch itself checks the values of options (--test-only). Stages with the same resources share one check.
    """
    for site in sites:
        if ours := sorted(OURS & site.names()):
            raise ArbenchError(f"{site.source}: {ours[0]!r} is set by arbench itself")
    valid = commands.options() - OURS | {*LISTS, *TEXTS, *SECONDS}
    partitions, tried = commands.partitions(), set()
    for site in sites:
        site.has_only(valid)
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
    except UnreachableError as error:
        hint = ""
        for word, command in HINTS.items():
            if word in str(error).lower():
                names = set(re.split(r"[\s,]+", commands.call(*command))) - {"", "(null)"}
                hint = f" (valid: {', '.join(sorted(names)) or 'none'})"
        raise ArbenchError(f"{site.source}: stage {stage}: {error}{hint}") from error


def _test(flags: Sequence[str]) -> None:
    """Have sbatch check options. Raises UnreachableError if sbatch reports an error.

    If the text of the error has the word "invalid", the error is raised at once. Any other error might be temporary: a
    slurmctld that has just started might not know its nodes yet. The check is then repeated, at most twice.
    """
    for pause in (5, 10):
        try:
            commands.call("sbatch", "--test-only", *flags, "--wrap=true")
            return
        except UnreachableError as error:
            if "invalid" in str(error).lower():
                raise
        time.sleep(pause)
    commands.call("sbatch", "--test-only", *flags, "--wrap=true")


def _check_environment(site: Site) -> None:
    """Check that this machine has the programs and modules that the jobs need. Other machines are not checked."""
    for options in (site.common, *site.stages.values()):
        for name in TEXTS:
            if (command := options.get(name)) and shutil.which(shlex.split(command)[0]) is None:
                raise ArbenchError(f"{site.source}: {name}: no command {shlex.split(command)[0]!r} here")
        if modules := options.get("modules"):
            line = f"module load {shlex.join(modules)}"
            found = subprocess.run(["bash", "-lc", line], capture_output=True, text=True, check=False)
            if found.returncode or "error" in found.stderr.lower():
                raise ArbenchError(f"{site.source}: modules: {line!r} fails here: {found.stderr.strip()}")
