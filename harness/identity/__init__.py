"""Says which code made a result. A hash of code is also part of the key of each trial.

source      hashes the code on which a method's images depend; copies the code for jobs that a cluster starts later
provenance  commit, versions, machine and command line, which every record carries
"""
