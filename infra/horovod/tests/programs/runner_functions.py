"""Calls `horovod.run` of a function that ends in some way, and prints what comes of it."""

from __future__ import annotations

import os
import sys

import horovod.runner


class Odd(Exception):
    """An error whose class the caller of `horovod.run` does not know."""


def rank() -> int:
    from horovod.runner.common.util.env import get_env_rank_and_size

    return get_env_rank_and_size()[0]


def returns(text: str) -> tuple[int, str]:
    return rank(), text


def raises(text: str) -> int:
    if rank() == 1:
        raise Odd(f"of rank 1: {text}")
    return 0


def exits_with(code: int) -> int:
    if rank() == 1:
        sys.exit(code)
    return 0


def vanishes() -> int:
    if rank() == 1:
        os._exit(0)
    return 0


def main(name: str, controller: str, *args: str) -> None:
    words = [int(word) if word.isdigit() else word for word in args]
    options = {"use_gloo": controller == "gloo", "use_mpi": controller == "mpi"}
    try:
        print(horovod.runner.run(globals()[name], words, num_proc=2, disable_cache=True, **options))
    except RuntimeError as error:
        print(f"RuntimeError: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
