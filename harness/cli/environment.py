"""The command ``env``: machine, versions and methods, for a bug report."""

import argparse
import json
from typing import Any

from harness.identity import provenance
from harness.machine import cores


def add(commands: Any) -> None:
    """Add ``env`` to the commands of arbench."""
    commands.add_parser("env", help="machine, versions and methods, for a bug report").set_defaults(run=_env)


def _env(asked: argparse.Namespace) -> None:
    from harness import registry  # late: --help needs no torch
    from harness.machine.conditions import conditions

    usable = {"allowed": cores.allowed(), "quota": cores.quota(), "used": cores.cores()}
    about = {**provenance.gather(), "cores": usable, "conditions": conditions(), "methods": registry.names()}
    print(json.dumps(about, indent=1))
