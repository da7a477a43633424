"""Raising: what an artifact was lowered to becomes neurons and layers again.

The inverse of snnc.backends.lowering, to float rounding.
"""

from snnc.frontend.raising.graph import raise_operations
from snnc.frontend.raising.weights import show_weights

__all__ = ["raise_operations", "show_weights"]
