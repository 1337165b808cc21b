"""The command ``cofactor``: parses, calls one function, prints.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 bad data.
"""

from cofactor.cli.app import app, main

__all__ = ["app", "main"]
