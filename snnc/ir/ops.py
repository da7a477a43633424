"""What snnc knows about ONNX operations: one table, read by passes, energy and reports."""

from __future__ import annotations

from snnc.ir.graph import Graph
from snnc.ir.node import Op
from snnc.ir.weights import is_weight

ONNX_TYPE = {
    "float32": 1,
    "int32": 6,
    "int64": 7,
    "bool": 9,
    "float16": 10,
    "float64": 11,
    "bfloat16": 16,
}
"""Numbers of element types in a Cast's attribute `to` (TensorProto.DataType)."""

SYNAPTIC = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum"})
"""Operations that multiply and accumulate, and that spikes can drive."""

_MULTIPLIED = {
    "MatMulInteger": ("MatMul", (0, 1)),
    "QLinearMatMul": ("MatMul", (0, 3)),
    "ConvInteger": ("Conv", (0, 1)),
    "QLinearConv": ("Conv", (0, 3)),
    "com.microsoft.FusedMatMul": ("MatMul", (0, 1)),
    "com.microsoft.TransposeMatMul": ("MatMul", (0, 1)),
    "com.microsoft.FusedGemm": ("MatMul", (0, 1)),
    "com.microsoft.FusedConv": ("Conv", (0, 1)),
    "DeformConv": ("Conv", (0, 1)),
    "com.microsoft.Attention": ("attention", (0, 1)),
    "com.microsoft.QAttention": ("attention", (0, 1)),
    "com.microsoft.MatMulNBits": ("MatMul", (0, 1)),
    "com.microsoft.DynamicQuantizeMatMul": ("MatMul", (0, 1)),
    "com.microsoft.MatMulIntegerToFloat": ("MatMul", (0, 1)),
    "com.microsoft.QGemm": ("MatMul", (0, 3)),
    "com.microsoft.QLinearConv": ("Conv", (0, 3)),
    "LSTM": ("recurrent", (0, 1, 2)),
    "GRU": ("recurrent", (0, 1, 2)),
    "RNN": ("recurrent", (0, 1, 2)),
} | {op_type: (op_type, (0, 1)) for op_type in SYNAPTIC}

MULTIPLYING = {op_type: form for op_type, (form, _) in _MULTIPLIED.items()}
"""Every operation with synapses, also those that stay analog, and the form they count by."""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


SHAPE_ONLY = _names(
    "Identity Reshape Transpose Flatten Squeeze Unsqueeze Slice Gather GatherElements GatherND "
    "Split Expand Tile DepthToSpace SpaceToDepth ReverseSequence"
)
"""Operations that only move the entries of their first input: spikes stay spikes."""

SHAPE_READING = frozenset({"Shape", "Size"})
"""Operations that read how large a value is, and none of its entries."""

PERMUTING = _names("Identity Reshape Transpose Flatten Squeeze Unsqueeze")
"""Shape-only operations that keep every entry exactly once."""

ELEMENTWISE = _names(
    "Relu Clip LeakyRelu PRelu Elu Selu Celu ThresholdedRelu Sigmoid HardSigmoid HardSwish Tanh "
    "Gelu ai.snnc.Silu Erf Softplus Softsign Mish Softmax LogSoftmax LayerNormalization "
    "BatchNormalization InstanceNormalization Exp Log Sqrt Reciprocal Abs Neg Sign Floor Ceil "
    "Round Not IsNaN IsInf Cast Identity Dropout"
)
"""Operations whose first result has the shape of their first input."""

LAYOUT = SHAPE_ONLY | _names(
    "Concat Pad Shape Size Cast CastLike ConstantOfShape Range Where ScatterND ScatterElements "
    "Trilu NonZero Compress EyeLike OneHot CenterCropPad Dropout ai.onnx.ml.ArrayFeatureExtractor"
)
"""Operations that place, select or retype numbers without computing on them."""

POINTWISE = _names(
    "Relu Clip LeakyRelu Elu Selu Celu ThresholdedRelu Sigmoid HardSigmoid HardSwish Tanh Gelu "
    "ai.snnc.Silu Erf Softplus Softsign Mish Exp Log Sqrt Reciprocal Abs Neg Sign Floor Ceil Round "
    "Cast Identity"
)
"""Operations that compute each entry of their result from that entry of their first input alone, if
their other inputs are single numbers."""

BROADCASTING = _names("Add Sub Mul Div Max Min Sum Mean Pow PRelu Where")
"""Operations that compute each entry of their result from that entry of all inputs."""

RANDOM = _names(
    "RandomNormal RandomUniform RandomNormalLike RandomUniformLike Multinomial Bernoulli"
)
"""Operations whose results differ from run to run."""

AFFINE = _names("Add Sub Mul Div BatchNormalization ai.onnx.ml.Scaler")
"""Operations that are affine in their first activation where the other inputs are constant."""

QUANTISED = "quantised operator: its weights stay as they are"

_WHY = {
    "elementwise product: no neuron on gates": "Mul Div",
    "sum of real activations": "Add Sub Sum Mean",
    "softmax": "Softmax LogSoftmax Hardmax",
    "normalisation over real activations": (
        "LayerNormalization BatchNormalization InstanceNormalization GroupNormalization "
        "LpNormalization LRN MeanVarianceNormalization ai.onnx.ml.Scaler ai.onnx.ml.Normalizer"
    ),
    "activation function not directly before a neuron": "Relu Clip",
    "activation function": (
        "Gelu ai.snnc.Silu Sigmoid Tanh Erf HardSwish HardSigmoid LeakyRelu PRelu Elu Selu Celu "
        "Softplus Softsign Mish ThresholdedRelu"
    ),
    "elementwise function of real activations": (
        "Neg Abs Exp Log Sqrt Pow Reciprocal Sin Cos Tan Floor Ceil Round Sign Mod"
    ),
    "pooling over real activations": (
        "MaxPool AveragePool GlobalAveragePool GlobalMaxPool LpPool MaxRoiPool RoiAlign"
    ),
    "reduction over real activations": (
        "ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceSumSquare "
        "ReduceLogSum ReduceLogSumExp CumSum"
    ),
    "selection by comparing real numbers": (
        "ArgMax ArgMin TopK Max Min Less Greater LessOrEqual GreaterOrEqual Equal IsNaN IsInf "
        "NonMaxSuppression"
    ),
    "interpolation of real activations": "Resize Upsample GridSample",
    "sampling positions that depend on the data": "DeformConv",
    "control flow: what it runs stays real": "If Loop Scan",
    "recurrent operator: its weights stay real": "LSTM GRU RNN",
    "operator fused by onnxruntime: its weights stay real": (
        "com.microsoft.FusedMatMul com.microsoft.TransposeMatMul com.microsoft.FusedGemm "
        "com.microsoft.FusedConv com.microsoft.Attention com.microsoft.MultiHeadAttention "
        "com.microsoft.GroupQueryAttention com.microsoft.DecoderMaskedMultiHeadAttention "
        "com.microsoft.SparseAttention"
    ),
    "quantiser that no neuron performs: see docs/quantized.md": (
        "QuantizeLinear DequantizeLinear DynamicQuantizeLinear com.microsoft.QuantizeLinear "
        "com.microsoft.DequantizeLinear"
    ),
    QUANTISED: (
        "MatMulInteger ConvInteger QLinearMatMul QLinearConv com.microsoft.MatMulNBits "
        "com.microsoft.DynamicQuantizeMatMul "
        "com.microsoft.MatMulIntegerToFloat com.microsoft.QGemm com.microsoft.QLinearConv "
        "com.microsoft.QAttention"
    ),
}
_WHY_OF = {op_type: why for why, op_types in _WHY.items() for op_type in _names(op_types)}


def why_analog(op_type: str) -> str:
    """Why an operation of this type computes in real numbers, in the words of the reports."""
    return _WHY_OF.get(op_type, "no spiking form")


def multiplied(op: Op) -> tuple[str, ...]:
    """The inputs that a multiplying operation multiplies; none for any other."""
    if op.op_type == "Einsum":
        return op.inputs if len(op.inputs) > 1 else ()
    positions = _MULTIPLIED[op.op_type][1] if op.op_type in _MULTIPLIED else ()
    return tuple(op.inputs[i] for i in positions)


def has_uncounted_macs(graph: Graph, op: Op) -> bool:
    """Whether an operation multiplies by weights in a way that `synapses` cannot count."""
    if op.bodies:
        return any(
            bool(multiplied(node)) or has_uncounted_macs(body.graph, node)
            for body in op.bodies.values()
            for node in body.graph.nodes
            if isinstance(node, Op)
        )
    if "." not in op.op_type or op.op_type in MULTIPLYING:
        return False
    weights = (graph.consts[v] for v in op.inputs if v in graph.consts)
    return "coefficients" in op.attrs or any(w.ndim > 1 for w in weights)


def operands(op: Op) -> tuple[str, ...]:
    """The multiplied inputs of an operation that spikes can drive."""
    return multiplied(op) if op.op_type in SYNAPTIC else ()


def activations(graph: Graph, op: Op) -> tuple[str, ...]:
    """The operands of a synaptic operation that are computed, in order (x @ x: x twice)."""
    return tuple(v for v in operands(op) if v and not is_weight(graph, v))


def rectifier_bound(graph: Graph, op: Op) -> float | None:
    """Upper bound of a ReLU (inf) or of a Clip from 0 (ReLU6: 6); None for any other Op."""
    if op.op_type == "Relu":
        return float("inf")
    if op.op_type != "Clip" or len(op.inputs) < 2 or graph.scalar(op.inputs[1]) != 0.0:
        return None
    if len(op.inputs) < 3 or not op.inputs[2]:
        return float("inf")
    bound = graph.scalar(op.inputs[2])
    return bound if bound is not None and bound > 0 else None


def bounds(graph: Graph, value: str) -> tuple[float, float]:
    """The constant bounds that a Relu or Clip gives a value; infinite where there are none."""
    least, most = float("-inf"), float("inf")
    op = graph.op(value, "Relu", "Clip")
    if op is None or op.op_type == "Relu":
        return (least if op is None else 0.0), most
    given = [graph.scalar(v) if v else None for v in (*op.inputs[1:], "", "")]
    return (least if given[0] is None else given[0]), (most if given[1] is None else given[1])
