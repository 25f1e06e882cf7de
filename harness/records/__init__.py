"""Keeps, compares and exchanges records. A record holds what was measured of one trial.

The records that come with arbench are in bundled/.

store        a folder of records with their arrays; no server, no locks
shape        the parts of a record, with their meanings and types
schema       checks whether a record has that shape
setups       the setup of a record, and how two setups differ
comparison   says which scores and costs of two records differ by more than chance
foreign      records of images that another program made; they have scores, but no costs
packs        writes records and arrays to one file for sending; reads such a file without trusting its content
admission    whether a record from elsewhere is accepted for import
submissions  packs records for others, and imports records from others
"""
