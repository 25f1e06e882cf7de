"""A sweep, from its file to its records.

driver        takes the trials of a sweep through their stages and writes their records
selection     which trials are run, and with which weights
live          the report that is written while a run goes on
limits        what a method can reach at best: the scores of the reference images, and the rFID of the tokenizers
verification  ``arbench verify``: runs the trials of records again
"""
