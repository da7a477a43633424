"""Compiler passes: each refines the graph from one stage to the next."""
