"""Operations of domain ai.snnc that are not neurons: ONNX text bodies (opset 21)."""

DOMAIN = "ai.snnc"
"""Domain of every operation snnc adds to ONNX."""

FUNCTIONS = {
    "Silu": (("x",), ("y",), "s = Sigmoid (x)\n y = Mul (x, s)"),
}
"""Inputs, outputs and body by name; Silu is an ONNX operation only from opset 24 (Swish)."""
