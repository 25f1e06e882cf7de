"""The command ``arbench``: each group of sub-commands has a module, which adds the sub-commands of the group.

command      the command as a whole: parse, run, report errors in one line
methods      list, flops, counters, check: list methods, show their cost, count MACs in several ways, test methods
weights      weights, weights fetch
run          run: measure the trials of a sweep
cluster      status, cancel, and the options for clusters, which the commands ``run`` and ``train`` share
score        score, reference build: score images that another program made, and make references for scoring
records      export, compare, diff, verify: make a table of records, compare records, measure records again
exchange     submit, import: pack records for other people, and add records that other people sent
environment  env: machine, versions and methods, for a bug report
options      options and types of arguments that several commands use
streams      keep a run going when standard output or standard error fails
"""

from harness.cli.command import main, parser

__all__ = ["main", "parser"]
