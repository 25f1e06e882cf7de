"""Sweeps on a cluster: an executor hands jobs to a scheduler. The executor keeps its state in files of the store.

A job is a piece of a trial's work. A task does several jobs, one after another. The scheduler starts the tasks.

executor    the executor: what the driver hands its jobs to
schedulers  what arbench asks of a scheduler; finds a scheduler by its name
slurm       Slurm, through its commands and submitit
local       this machine, through submitit
bundles     which jobs make up one task, by measured rates
submitted   the submissions: each is a folder under STORE/cluster
task        what a task does after the scheduler has started it
leases      which task is doing which job: files in each trial's work folder
faults      what went wrong at a job: files beside the leases
watch       which tasks are active and which have ended, by the schedulers' answers
outlook     what a dry run prints
site        the site file: what the scheduler is given
status      ``arbench status`` and ``arbench cancel``
training    ``arbench train --cluster slurm``: one training in several processes
"""
