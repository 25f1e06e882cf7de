"""Jobs: the pieces of a trial's work, and the processes that do them.

plan       the plan of a trial: its key, the files its stages leave, the jobs still open
loading    the method of a planned trial, with the weights that were hashed for the trial's key
bench      does jobs in one process, and keeps what it has loaded
executors  do jobs in this process, or in several
assembly   the record, put together from what the stages have left
"""
