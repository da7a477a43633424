"""The frontend: ONNX files of any exporter -> Graph."""

from snnc.frontend.build import load

__all__ = ["load"]
