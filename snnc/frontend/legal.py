"""What the intermediate representation can hold: everything else is refused, naming the node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from graphlib import CycleError, TopologicalSorter

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, defs

from snnc.errors import CompileError, RefusedNode
from snnc.ir.composed import is_drive
from snnc.ir.functions import FUNCTIONS
from snnc.ir.graph import DOMAIN, OPSET

ONNX_DOMAINS = ("", "ai.onnx")
"""Both names of the default domain."""

RUNTIME_OPERATIONS = frozenset({"LayerNormalization", "SimplifiedLayerNormalization"})
"""What onnxruntime's optimiser writes into the default domain of any opset."""

PLACEHOLDER = "ai.snnc.body"
"""Domain of the operations that stand for If, Loop and Scan while onnx's tools run, which would
lose or misread the graphs in them."""


def opset_of(model: ModelProto) -> int:
    """Version of the default domain that the model is written in."""
    return int(next((o.version for o in model.opset_import if o.domain in ONNX_DOMAINS), OPSET))


def refusal(message: str, node: NodeProto, source: str, help: str = "") -> CompileError:
    """A CompileError that points at a node of the file."""
    return refusals([RefusedNode(node.name, node.op_type, message, help)], source)


def refusals(nodes: Sequence[RefusedNode], source: str) -> CompileError:
    """A CompileError that points at the first of the nodes and knows them all."""
    first = nodes[0]
    of = f" of {source}" if source else ""
    return CompileError(
        first.why,
        at=f"node '{first.name}' ({first.op}){of}",
        help=first.help or None,
        refused=nodes,
    )


def refuse_damaged(model: ModelProto, source: str) -> None:
    """Raise for names that are no text and element types that do not exist.

    protobuf hands such fields on as they are, and every later step would trip over them.
    """
    texts: list[object] = [*_strings(model), *(o.domain for o in model.opset_import)]
    types: list[int] = []
    graphs = [model.graph]
    nodes = [node for function in model.functions for node in function.node]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            texts += _strings(graph)
            for value in (*graph.input, *graph.output, *graph.value_info):
                texts.append(value.name)
                types.append(value.type.tensor_type.elem_type)
                texts += [dim.dim_param for dim in value.type.tensor_type.shape.dim]
            texts += [tensor.name for tensor in graph.initializer]
            types += [tensor.data_type for tensor in graph.initializer]
            nodes += graph.node
        while nodes:
            node = nodes.pop()
            texts += [node.name, node.op_type, node.domain, *node.input, *node.output]
            texts += [text for prop in node.metadata_props for text in (prop.key, prop.value)]
            for attribute in node.attribute:
                texts += [attribute.name, attribute.ref_attr_name]
                types += [attribute.t.data_type] if attribute.HasField("t") else []
                graphs += [attribute.g] if attribute.HasField("g") else []
    known = TensorProto.DataType.values()
    if not all(isinstance(text, str) for text in texts) or not all(t in known for t in types):
        raise CompileError(
            "the model is damaged: it holds names or types that cannot be",
            at=source or None,
            help="export the model again, or check that the download is complete",
        )


def _strings(message: ModelProto | GraphProto) -> list[object]:
    return [value for field, value in message.ListFields() if field.type == field.TYPE_STRING]


_NEW_TYPES = {
    number: name
    for name, number in TensorProto.DataType.items()
    if number > TensorProto.INT4  # the newest of opset 21
}


def _refuse_new_types(model: ModelProto, source: str) -> None:
    """Raise for element types that opset 21 lacks."""
    values = (*model.graph.input, *model.graph.output, *model.graph.value_info)
    found = [(v.type.tensor_type.elem_type, f"'{v.name}'") for v in values]
    found += [(tensor.data_type, f"weight '{tensor.name}'") for tensor in model.graph.initializer]
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name in ("to", "dtype", "output_dtype", "value"):
                held = max(attribute.i, attribute.t.data_type)
                found.append((held, f"node '{node.name}' ({node.op_type})"))
    for number, where in found:
        if number in _NEW_TYPES:
            raise CompileError(
                f"{where} holds numbers of type {_NEW_TYPES[number]}, which came after opset "
                f"{OPSET}",
                at=source or None,
                help="export the model with 4-bit or wider integers, or in floating point",
            )


def refuse(model: ModelProto, source: str) -> None:
    """Raise for what the intermediate representation cannot hold."""
    version = opset_of(model)
    if version > defs.onnx_opset_version():
        raise CompileError(
            f"the model is of opset {version}, the installed onnx knows up to "
            f"{defs.onnx_opset_version()}",
            at=source or None,
            help=f"upgrade onnx, or export the model with opset {OPSET}",
        )
    for value in (*model.graph.input, *model.graph.output):
        if value.type.WhichOneof("value") not in ("tensor_type", None):
            raise CompileError(
                f"'{value.name}' is not a tensor but a {value.type.WhichOneof('value')}",
                at=source or None,
                help="export plain tensors (skl2onnx: options={'zipmap': False})",
            )
    _refuse_new_types(model, source)
    if model.graph.sparse_initializer:
        raise CompileError(
            "the model stores sparse weights", help="store them as dense initializers"
        )
    refused = list(filter(None, (_refused(node, version) for node in model.graph.node)))
    if refused:
        raise refusals(refused, source)


def _refused(node: NodeProto, version: int) -> RefusedNode | None:
    for illegal, message, help in _ILLEGAL:
        if illegal(node, version):
            return RefusedNode(node.name, node.op_type, message.format(node.op_type), help)
    return None


def _holds_bytes(node: NodeProto, version: int) -> bool:
    """Whether a text attribute holds no text, as TensorFlow's configurations do."""
    return any(a.type == AttributeProto.STRING and not _is_text(a.s) for a in node.attribute)


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _has_subgraph(node: NodeProto, version: int) -> bool:
    """Whether an operation other than ONNX's If, Loop and Scan runs a graph."""
    return any(a.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for a in node.attribute)


def _is_old_scan(node: NodeProto, version: int) -> bool:
    return node.domain == PLACEHOLDER and node.op_type == "Scan" and version < 9


def _is_sparse(node: NodeProto, version: int) -> bool:
    return node.op_type == "Constant" and any(a.name == "sparse_value" for a in node.attribute)


def _is_unknown(node: NodeProto, version: int) -> bool:
    if node.domain in ONNX_DOMAINS:
        return not defs.has(node.op_type, version) and node.op_type not in RUNTIME_OPERATIONS
    if node.domain == DOMAIN:
        known = node.op_type in FUNCTIONS or is_drive(node.op_type)
        return not known and all(a.name != "model" for a in node.attribute)
    return node.domain not in ("ai.onnx.ml", PLACEHOLDER) and not node.domain.startswith(
        "com.microsoft"
    )


def _is_malformed(node: NodeProto, version: int) -> bool:
    if node.domain not in ONNX_DOMAINS or not defs.has(node.op_type, version):
        return False
    schema = defs.get_schema(node.op_type, version)
    few = len(node.input) < schema.min_input or len(node.output) < schema.min_output
    return few or len(node.input) > schema.max_input or len(node.output) > schema.max_output


_ILLEGAL: tuple[tuple[Callable[[NodeProto, int], bool], str, str], ...] = (
    (
        _has_subgraph,
        "{} runs a subgraph, which snnc does not convert",
        "export the model without control flow (fixed options, torch.export)",
    ),
    (
        _is_old_scan,
        "{} of opset 8 has a batch axis that later ones lack",
        "export the model with opset 9 or higher",
    ),
    (_is_sparse, "the model stores sparse weights", "store them as dense constants"),
    (
        _is_unknown,
        "neither onnx nor the model defines the operation {}",
        "export the model with standard operations, or with a function that defines this one",
    ),
    (
        _is_malformed,
        "{} has the wrong number of inputs or outputs",
        "check the file with onnx.checker and export the model again",
    ),
    (
        _holds_bytes,
        "an attribute of {} is neither text nor numbers",
        "export the model again, without configurations of another framework",
    ),
)


def refuse_sequences(model: ModelProto, source: str) -> None:
    """Raise for a node whose result is no tensor, in a model whose types are inferred."""
    producer = {name: node for node in model.graph.node for name in node.output}
    for value in model.graph.value_info:
        kind = value.type.WhichOneof("value")
        if kind not in ("tensor_type", None) and value.name in producer:
            raise refusal(
                f"'{value.name}' is not a tensor but a {kind}",
                producer[value.name],
                source,
                help="export the model with plain tensors (Split in place of SplitToSequence)",
            )


def sort_nodes(model: ModelProto, source: str) -> None:
    """Brings the nodes into an order in which every value is computed before it is read."""
    nodes = list(model.graph.node)
    given = {v.name for v in (*model.graph.input, *model.graph.initializer)} | {""}
    producer: dict[str, int] = {}
    for i, node in enumerate(nodes):
        for name in filter(None, node.output):
            if name in given or name in producer:
                raise refusal(f"'{name}' is computed twice", node, source)
            producer[name] = i
    for node in nodes:
        for name in node.input:
            if name not in given and name not in producer:
                raise refusal(f"'{name}' is read, but nothing computes it", node, source)
    for value in model.graph.output:
        if value.name not in given and value.name not in producer:
            raise CompileError(f"nothing computes output '{value.name}'", at=source or None)
    before = {i: {producer[v] for v in n.input if v in producer} for i, n in enumerate(nodes)}
    if all(j < i for i, earlier in before.items() for j in earlier):
        return
    try:
        order = list(TopologicalSorter(before).static_order())
    except CycleError as error:
        node = nodes[error.args[1][0]]
        raise refusal("the node reads what is computed from its own result", node, source) from None
    del model.graph.node[:]
    model.graph.node.extend(nodes[i] for i in order)
