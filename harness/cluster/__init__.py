"""Sweeps on a cluster: the third executor, Slurm through submitit. What it knows is in files of the store.

claims.py       who is at which job, and what went wrong at it: in each trial's work folder
submissions.py  what was submitted: a folder each under STORE/cluster
task.py         what runs inside a job of Slurm: several of our jobs, one after another
bundles.py      which of our jobs make up one of Slurm's, by measured rates
slurm.py        the calls of Slurm's commands; watch.py: what follows from squeue's and sacct's answers
site.py         the site file: what sbatch is given, checked against the cluster
launch.py       sbatch, through submitit
training.py     `arbench train --cluster slurm`: one job of several processes
executor.py     the executor; status.py: what `arbench status` and `arbench cancel` do
"""
