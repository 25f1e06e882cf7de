"""Which code made a result.

source      hashes the code that a method's images depend on (the hash is part of keys); copies the code for jobs
provenance  commit, versions, machine and command line, which every record carries
"""
