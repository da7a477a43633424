"""Paths of the example networks and their data, and one compiled network of each kind."""

import resource
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

import snnc

MODELS = Path(__file__).parent.parent / "models"

DATA = {
    "digits_mlp": "digits_mlp",
    "digits_cnn": "digits",
    "digits_cnn_dynamo": "digits",
    "digits_vit": "digits",
    "digits_vit_dynamo": "digits",
    "digits_encoder": "digits_encoder",
}


def model_path(name: str) -> Path:
    return MODELS / f"{name}.onnx"


def calibration_path(name: str) -> Path:
    return MODELS / f"{DATA[name]}_calibration.npz"


def held_out_path(name: str) -> Path:
    return MODELS / f"{DATA[name]}_test.npz"


@cache
def compiled_network(name: str) -> snnc.SpikingNetwork:
    mask = "attention_mask" if name == "digits_encoder" else None
    return snnc.compile(model_path(name), calibration=calibration_path(name), mask_input=mask)


@pytest.fixture(scope="session")
def compiled() -> Callable[[str], snnc.SpikingNetwork]:
    return compiled_network


@pytest.fixture
def limited() -> Iterator[None]:
    """A disk that is full: no file may grow beyond 512 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
