"""A piece of a trial's work, and who does it.

plan       what is to be done for a trial: its key, the files its stages leave, the jobs still open
bench      does jobs in one process, and keeps what it has loaded
executors  who does them: this process, or several
assembly   the record, put together from what the stages have left
"""
