"""Slurm, through its commands and submitit.

scheduler  what arbench asks of a scheduler, answered by Slurm
commands   the calls of Slurm's commands
launch     sbatch, through submitit
options    the site file, checked against the cluster
"""
