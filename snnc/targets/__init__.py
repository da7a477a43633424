"""Neuromorphic chips as data: one declarative file each, and users' own."""

from snnc.targets.load import load_target, target_file, target_names
from snnc.targets.target import OPERATIONS, Operation, Target

__all__ = ["OPERATIONS", "Operation", "Target", "load_target", "target_file", "target_names"]
