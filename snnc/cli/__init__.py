"""The command line: `snnc`."""

from snnc.cli.main import main

__all__ = ["main"]
