"""The frontend: ONNX files of any exporter -> Graph."""

from snnc.frontend.build import load
from snnc.frontend.read import external_files

__all__ = ["external_files", "load"]
