"""Records of what was measured: kept, compared, exchanged. The records that come with arbench are in bundled/.

store        a folder of records with their arrays; no server, no locks
shape        the parts of a record, what they mean, and the kinds of their values
schema       whether a record has that shape
comparison   two records: which scores and costs differ by more than chance
foreign      rows with the scores of images that another program made
packs        records and arrays in one file, read as if an enemy had written it
admission    whether a record from elsewhere is accepted for import
submissions  packs records for others, and imports records from others
"""
