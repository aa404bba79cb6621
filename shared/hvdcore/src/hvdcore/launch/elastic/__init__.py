"""Elastic jobs: restarted from the newest checkpoint on the remaining hosts.

A change of hosts ends the ranks and starts others, as torchrun's elastic agent does, instead of
Horovod's elastic state within the processes: checkpoints are exact in mid-epoch and a run with one
global batch size is the same on any number of ranks, so no sample is lost or counted twice, and
the learning rate needs no change.
"""
