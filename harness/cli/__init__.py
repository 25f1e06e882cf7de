"""The command ``arbench``: each group of sub-commands has a module, which adds the sub-commands of the group.

command      the command as a whole: parse, run, report errors in one line
methods      list, flops, counters, check: which methods there are, what they cost, whether they are sound
weights      weights, weights fetch
run          run: measure the trials of a sweep
cluster      status, cancel, and the options that run and train share on a cluster
score        score, reference build: images that another program made
records      export, compare, diff, verify: existing records
exchange     submit, import: rows that other people get from us, or we from them
environment  env: machine, versions and methods, for a bug report
options      options and types of arguments that several commands use
streams      standard output and error whose faults never end a run
"""

from harness.cli.command import main, parser

__all__ = ["main", "parser"]
