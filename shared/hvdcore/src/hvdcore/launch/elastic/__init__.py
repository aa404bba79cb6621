"""Owns jobs that outlive their hosts: started again from the newest checkpoint on what is left.

A change of hosts ends the ranks and starts others, as torchrun's elastic agent does, and not
Horovod's elastic state within the processes: checkpoints are exact in mid-epoch and a run of one
global batch is the same on any number of ranks, so that no sample is lost or counted twice, and
the learning rate needs no change.
"""
