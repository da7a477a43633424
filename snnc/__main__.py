"""`python -m snnc`: the command line."""

from snnc.cli import main

main(prog_name="snnc")
