"""Which code made a result.

source      the hash of the code that a method's images depend on, which is part of keys; a copy of the code for jobs
provenance  commit, versions, machine and command line, which every record carries
"""
