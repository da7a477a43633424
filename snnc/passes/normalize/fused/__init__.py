"""Operators of domain com.microsoft, which onnxruntime's optimisers write, in standard operations.

What is inside them (weights, attention products) only becomes visible to spikes like this. A form
that is not certain to be the same is left as it is, and stays analog.
"""

from __future__ import annotations

from collections.abc import Callable

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Node, Op
from snnc.passes.normalize.fused.activation import spell_fast_gelu, spell_gelu, spell_quick_gelu
from snnc.passes.normalize.fused.attention import spell_attention
from snnc.passes.normalize.fused.conv import spell_conv
from snnc.passes.normalize.fused.embedding import spell_embedding
from snnc.passes.normalize.fused.group_query import spell_group_query
from snnc.passes.normalize.fused.matmul import spell_gemm, spell_matmul
from snnc.passes.normalize.fused.multi_head import spell_multi_head
from snnc.passes.normalize.fused.norm import (
    spell_rms_norm,
    spell_skip_layer_norm,
    spell_skip_rms_norm,
)
from snnc.passes.normalize.fused.quantised import spell_matmul_nbits
from snnc.passes.normalize.fused.rotary import spell_rotary
from snnc.passes.normalize.fused.triangle import spell_triangle

SPELLINGS: dict[str, Callable[[Graph, Op], Replacement | None]] = {
    "com.microsoft.Gelu": spell_gelu,
    "com.microsoft.BiasGelu": spell_gelu,
    "com.microsoft.FastGelu": spell_fast_gelu,
    "com.microsoft.QuickGelu": spell_quick_gelu,
    "com.microsoft.FusedMatMul": spell_matmul,
    "com.microsoft.TransposeMatMul": spell_matmul,
    "com.microsoft.MatMulNBits": spell_matmul_nbits,
    "com.microsoft.FusedGemm": spell_gemm,
    "com.microsoft.FusedConv": spell_conv,
    "com.microsoft.SkipLayerNormalization": spell_skip_layer_norm,
    "com.microsoft.SkipSimplifiedLayerNormalization": spell_skip_rms_norm,
    "com.microsoft.EmbedLayerNormalization": spell_embedding,
    "com.microsoft.Attention": spell_attention,
    "com.microsoft.MultiHeadAttention": spell_multi_head,
    "com.microsoft.GroupQueryAttention": spell_group_query,
    "com.microsoft.RotaryEmbedding": spell_rotary,
    "com.microsoft.Trilu": spell_triangle,
    "SimplifiedLayerNormalization": spell_rms_norm,
}
"""What writes each operator in standard operations; None where it is not certain how."""


_ONE_PROCESSOR = "com.microsoft.nchwc."
"""Domain of layers whose weights are laid out for the processor that the file was made on."""


def _has_kernels(graph: Graph, op: Op) -> bool:
    """Whether onnxruntime computes on a CPU in the type of the result."""
    return graph.types[next(filter(None, op.outputs))].dtype in ("float32", "float64", "float16")


def spell_out_fused(graph: Graph) -> Graph:
    """Every fused operator of a known form as the operations that it was made of.

    Raises CompileError for layers in the layout of one processor: the order of their weights is not
    said in the file, and no other machine runs it.
    """

    def rule(node: Node) -> Replacement | None:
        if not isinstance(node, Op):
            return None
        if node.op_type.startswith(_ONE_PROCESSOR):
            raise graph.error(
                "the model was saved in the memory layout of one kind of processor",
                node,
                help="compile the original model, or save it from onnxruntime at optimisation level"
                " extended (ORT_ENABLE_EXTENDED) instead of all",
            )
        spell = SPELLINGS.get(node.op_type)
        return spell(graph, node) if spell and _has_kernels(graph, node) else None

    return graph.rewrite(rule)
