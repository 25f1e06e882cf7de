"""Which code made a result.

source      hashes the code on which a method's images depend (part of the keys of trials); copies the code for jobs
provenance  commit, versions, machine and command line, which every record carries
"""
