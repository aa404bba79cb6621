"""Owns predicting a run at a size that nobody here has: a ring allreduce beside measured steps.

`network` is what a collective costs, `workload` what a run does in a step, `predict` the two
together; `measure` and `command` are behind `hvdcore network` and `hvdcore plan`.
"""
