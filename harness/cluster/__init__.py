"""Sweeps on a cluster: the executor for Slurm, through submitit. The executor's state is in files of the store.

executor   the executor: what the driver hands its jobs to
bundles    which of our jobs make up one job of Slurm, by measured rates
launch     sbatch, through submitit
submitted  the submissions: each is a folder under STORE/cluster
task       what runs inside a job of Slurm: several of our jobs, one after another
leases     which task is doing which job: files in each trial's work folder
faults     what went wrong at a job: files beside the leases
slurm      the calls of Slurm's commands
watch      what follows from squeue's and sacct's answers
outlook    what a dry run prints
site       the site file: what sbatch is given, checked against the cluster
status     ``arbench status`` and ``arbench cancel``
training   ``arbench train --cluster slurm``: one job of several processes
"""
