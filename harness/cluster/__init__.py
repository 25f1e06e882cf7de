"""Sweeps on a cluster.

The driver (harness/run/driver.py) takes the trials of a sweep through their stages. A job is a piece of a trial's work.
The driver gives jobs to the executor. The executor groups the jobs into tasks, and submits the tasks to a scheduler.
The scheduler starts the tasks. Each task does its jobs one after another. The executor keeps its state in files of the
store.

executor    the executor: takes jobs from the driver, and submits tasks to a scheduler
schedulers  what arbench asks of a scheduler; finds a scheduler by its name
slurm       Slurm, through its commands and submitit
local       this machine, through submitit
bundles     which jobs make up one task, by measured rates
submitted   the submissions: each is a folder under STORE/cluster
task        what a task does after the scheduler has started it
leases      files in each trial's work folder that say which task is doing which job
faults      files beside the leases that say what went wrong at a job
watch       which tasks are active and which have ended, by the schedulers' answers
outlook     what a dry run prints
site        reads the site file: the options for a scheduler, such as Slurm's partition and time limit
status      ``arbench status`` and ``arbench cancel``
training    ``arbench train --cluster slurm``: one training in several processes
"""
