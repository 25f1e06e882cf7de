"""Jobs: the pieces of a trial's work, and the processes that do them.

A trial goes through up to four stages: generate, quality, flops and timing. Each stage writes a file.

plan       the plan of a trial: its key, the files that its stages write, and the jobs that are not done yet
loading    loads the method of a planned trial, and checks that the weights have not changed since the planning
bench      does jobs in one process, and keeps what it has loaded
executors  do jobs in this process, or in several processes
assembly   puts the record of a trial together from the files that the stages have written
"""
