"""A sweep, from its file to its records.

driver        takes the trials of a sweep through their stages and writes their records
selection     which trials are run, and with which weights
live          the report that is written while a run goes on
limits        scores of the reference images and rFID of the tokenizers, as limits for the scores of methods
verification  ``arbench verify``: runs the trials of records again
"""
