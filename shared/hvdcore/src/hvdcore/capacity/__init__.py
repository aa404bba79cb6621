"""Predicting a run on more ranks than there are here: a ring allreduce beside measured steps.

`model` predicts; `measure` and `command` are behind `hvdcore network` and `hvdcore plan`.
"""
