"""The rules of docs/architecture.md: imports go down, one door a dependency, files stay small."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "snnc"
FILES = sorted(PACKAGE.rglob("*.py"))

ROWS = [
    ["errors"],
    ["ir"],
    [
        *("neurons", "pointwise", "spike_time_kernels", "synapses"),
        *("streams", "spike_sums", "spike_events", "theorems", "targets"),
    ],
    ["export", "shapes", "kernels", "membrane", "simulator"],
    ["runtime"],
    ["npz", "files", "data", "random_data", "shards", "reservoir", "drives"],
    ["frontend", "passes", "backends"],
    ["pipeline"],
    ["identity", "statistics", "calibrated", "centred", "fitted"],
    ["fidelity", "energy", "integer_energy", "spike_time_operations", "spike_time_energy", "rows"],
    ["evaluation", "search", "sites", "diagnosis", "latency", "quantized_ann"],
    [
        "spike_time_evaluation",
        "spike_recording",
        "precision",
        "artifact_spikes",
        "neurobench",
        "replay",
    ],
    ["site_errors", "fits", "studies"],
    ["curves", "comparison", "equivalence"],
    ["histogram", "recipes", "pareto_front"],
    ["coverage", "spike_time_coverage", "report", "plots", "integer_synapses"],
    ["prepare", "schedule_view", "scheduling"],
    ["compile_report", "spike_time_report", "calibrating"],
    ["spiking_network"],
    ["compiler", "spike_time_compiler"],
    ["tuning", "target_check", "pareto"],
    ["cli"],
    ["__main__"],
]
ROW = {name: i for i, names in enumerate(ROWS) for name in names}
NEVER_EACH_OTHER = {"frontend", "passes", "backends"}

DOORS = {
    "click": {"cli"},
    "ctypes": {"kernels"},
    "tqdm": {"cli"},
    "onnxruntime": {"runtime"},
    "onnx_graphsurgeon": {"frontend"},
    "onnx": {"frontend", "export", "shapes", "membrane", "backends", "prepare", "compiler"},
    "google": {"frontend"},
    "datasketches": {"passes"},
    "matplotlib": {"plots"},
    "optuna": {"search"},
    "sqlalchemy": {"search"},
    "networkx": {"backends"},
    "pyarrow": {"backends"},
    "nir": {"backends"},
    "h5py": {"backends"},
    "scipy": {"simulator"},
    "torch": {"neurobench"},
    "neurobench": {"neurobench"},
}

CEILING = 300


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[str]:
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
    return found


def test_there_are_files_to_check() -> None:
    assert len(FILES) > 40
    assert {part_of(f) for f in FILES} - {"__init__"} == set(ROW)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down_only(path: Path) -> None:
    mine = part_of(path)
    if mine == "__init__":
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "snnc" and len(parts) > 1:
            theirs = parts[1]
            assert ROW[theirs] <= ROW[mine], f"{path.name} imports upwards: {name}"
            assert not ({mine, theirs} <= NEVER_EACH_OTHER and mine != theirs), (
                f"{path.name} imports its neighbour {name}"
            )


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_each_dependency_has_one_door(path: Path) -> None:
    for name in imports(path):
        library = name.split(".")[0]
        assert library not in DOORS or part_of(path) in DOORS[library], f"{path.name}: {name}"


def test_the_ir_needs_numpy_and_the_standard_library_only() -> None:
    allowed = {"numpy", "snnc", "__future__"} | set(_standard_library())
    for path in (PACKAGE / "ir").glob("*.py"):
        assert {name.split(".")[0] for name in imports(path)} <= allowed


def _standard_library() -> frozenset[str]:
    import sys

    return sys.stdlib_module_names


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_file_outgrows_its_ceiling(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= CEILING
