"""Backends: where a spiking graph goes."""
