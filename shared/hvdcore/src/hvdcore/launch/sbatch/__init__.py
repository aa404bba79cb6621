"""Owns Slurm's batch scripts for trainings: what is asked for, checked, and the text of the script.

The script starts the trainer once, which finds the nodes of its allocation by itself, and takes
care that a job which is preempted or comes to its time limit saves, is queued again and goes on.
"""
