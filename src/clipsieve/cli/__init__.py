"""The command line: one thin command for each step; every one of them only calls the library."""

from clipsieve.cli.entry import group, main

__all__ = ["group", "main"]
