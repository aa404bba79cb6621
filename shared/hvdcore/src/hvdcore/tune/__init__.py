"""Searching for settings: many trials of one trainer, each a launched job of its own.

What a package gives is a `Tunable`; `hvdcore.tune.command.tune_command` is then its command `tune`.
Nothing is imported here, so that `hvdcore.tune.command` costs `--help` nothing. Optuna comes with
the extra `tune`, and is loaded by the command alone: it is maintained, keeps a study on disk, and
can stop what is not promising.
"""
