"""`python run_module.py NAME ARGUMENTS`: `python -P -m NAME ARGUMENTS` for Python 3.10.

As a script it has its own folder first on sys.path, in place of the working folder. Nothing but
`sys` may be imported before that is taken away.
"""

import sys

if __name__ == "__main__":
    del sys.path[0]
    import runpy

    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
