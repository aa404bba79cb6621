"""Batch scripts for Slurm: the request, checked, and the text of the script.

The script starts the trainer once, which finds the nodes of its allocation by itself, and makes a
job that is preempted or reaches its time limit save, be requeued and resume.
"""
