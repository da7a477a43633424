"""What a neuron model is: a name, an equation, parameters; and how users write one."""

from __future__ import annotations

import dataclasses
import inspect
from abc import ABC
from typing import ClassVar, TypeAlias, get_args, get_type_hints

from snnc.errors import CompileError, unknown_name
from snnc.ir.numbers import plain

Parameter: TypeAlias = int | float | str

_REGISTRY: dict[str, type[NeuronModel]] = {}


class NeuronModel(ABC):
    """Base of every neuron model; a model is a frozen dataclass whose fields are its parameters.

    `name` is what the user types, `equation` the one-line definition that listings show.
    Fields become ONNX attributes, keys of the text form, command-line options and table columns.
    """

    name: ClassVar[str]
    equation: ClassVar[str]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not inspect.isabstract(cls) and "name" in cls.__dict__:
            _REGISTRY[cls.name] = cls

    @property
    def parameters(self) -> dict[str, Parameter]:
        """The model's parameters in field order."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return {f.name: getattr(self, f.name) for f in fields}

    @property
    def plain_parameters(self) -> dict[str, Parameter | None]:
        """The parameters as JSON can hold them: None for infinity (no bound)."""
        return {k: None if v == float("inf") else v for k, v in self.parameters.items()}

    @property
    def given(self) -> dict[str, Parameter]:
        """The parameters that are not left to the model, as users would write it."""
        usual = type(self)().parameters
        return {k: v for k, v in self.parameters.items() if v != usual.get(k)}

    @classmethod
    def choices(cls) -> dict[str, tuple[str, ...]]:
        """The allowed values of every parameter that is chosen from a list."""
        hints = get_type_hints(cls)
        fields = dataclasses.fields(cls)  # type: ignore[arg-type]
        return {f.name: get_args(hints[f.name]) for f in fields if get_args(hints[f.name])}

    def _check_choices(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            object.__setattr__(self, field.name, plain(getattr(self, field.name)))
        for name, allowed in self.choices().items():
            if getattr(self, name) not in allowed:
                raise unknown_name(f"{self.name} {name}", str(getattr(self, name)), allowed)


def neuron_models() -> dict[str, type[NeuronModel]]:
    """Every known neuron model by name."""
    return dict(sorted(_REGISTRY.items()))


def _parameter_names(name: str) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(_REGISTRY[name]))  # type: ignore[arg-type]


def parse_neuron(text: str) -> NeuronModel:
    """The neuron model written NAME[:PARAMETER=VALUE]..., as in 'mtn:N=16:potential=0'."""
    name, *settings = text.split(":")
    if name not in _REGISTRY:
        raise unknown_name("neuron model", name, _REGISTRY)
    hints = get_type_hints(_REGISTRY[name])
    parameters: dict[str, Parameter] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or key in parameters:
            raise CompileError(
                f"'{setting}' in neuron '{text}' "
                + ("is no PARAMETER=VALUE" if not equals else "is given twice"),
                help=f"{name} takes {', '.join(_parameter_names(name))}",
            )
        kind = hints.get(key, str)
        try:
            parameters[key] = kind(value) if kind in (int, float) else value
        except ValueError:
            raise CompileError(
                f"neuron '{text}': {key} is no {'whole ' * (kind is int)}number: '{value}'"
            ) from None
    return make_neuron(name, **parameters)


def format_neuron(model: NeuronModel) -> str:
    """The text that `parse_neuron` reads."""
    return ":".join([model.name, *(f"{k}={v}" for k, v in model.parameters.items())])


def make_neuron(name: str, /, **parameters: Parameter) -> NeuronModel:
    """The neuron model called `name`; an unknown model or parameter is a CompileError."""
    if name not in _REGISTRY:
        raise unknown_name("neuron model", name, _REGISTRY)
    model = _REGISTRY[name]
    known = _parameter_names(name)
    for key in parameters:
        if key not in known:
            raise unknown_name(f"parameter of neuron {name}", key, known)
    try:
        return model(**parameters)
    except TypeError as error:
        raise CompileError(f"neuron {name}: {error}") from None
