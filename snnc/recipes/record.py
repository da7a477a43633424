"""Measured curves in a file, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from snnc.calibrated import CalibratedNetwork
from snnc.data import Samples
from snnc.errors import CompileError
from snnc.files import replacing, require_writable
from snnc.identity import identity_of
from snnc.ir.neuron_spec import NeuronSpec
from snnc.ir.rate_neuron import RateNeuron
from snnc.npz import DAMAGED, npy_checked, write_npz
from snnc.recipes.curves import FINE, MEASURED, SiteCurve
from snnc.search.split import digest_of

VERSION = 3
_HEADER = "snnc_curves"
_PLAIN = ("name", "role", "unit")
_READ_OFF = ("spikes", "events", "own")
_RUN = ("errors", "deviations")


class CurveRecord:
    """The curves of a network measured so far. Raises CompileError for a file of another one."""

    def __init__(
        self,
        path: Path,
        network: CalibratedNetwork,
        samples: Samples,
        neuron: RateNeuron,
        output: str,
    ) -> None:
        require_writable(path, *network.sources)
        self._path = path
        identity = asdict(identity_of(network.ann, network.sited))
        measured = str(NeuronSpec(neuron)), MEASURED.tolist(), len(FINE), VERSION
        made = json.dumps([identity, digest_of(samples), output, *measured])
        self._key = hashlib.sha256(made.encode()).hexdigest()
        self.curves: dict[str, SiteCurve] = self._read() if path.exists() else {}

    def add(self, curve: SiteCurve) -> None:
        """Writes the file anew, with one more curve."""
        self.curves[curve.name] = curve
        sites: list[dict[str, Any]] = []
        arrays = {}
        for i, each in enumerate(self.curves.values()):
            plain = {key: getattr(each, key) for key in _PLAIN}
            sites.append(plain | {"measured": each.errors is not None})
            for key in (*_READ_OFF, *_RUN):
                if getattr(each, key) is not None:
                    arrays[f"{i}.{key}"] = getattr(each, key)
        header = json.dumps({"key": self._key, "sites": sites})
        with replacing(self._path) as directory:
            write_npz(directory / self._path.name, {_HEADER: np.array(header), **arrays})

    def _read(self) -> dict[str, SiteCurve]:
        try:
            with zipfile.ZipFile(self._path) as archive:
                header = json.loads(npy_checked(archive, f"{_HEADER}.npy").item())
                if header["key"] != self._key:
                    raise CompileError(
                        f"'{self._path}' holds sensitivities of another network, or measured on "
                        "other samples",
                        help="pass the file that belongs to it, or another name",
                    )
                read = partial(_curve, archive, {*archive.namelist()})
                found = [read(i, site) for i, site in enumerate(header["sites"])]
                return {curve.name: curve for curve in found}
        except (*DAMAGED, KeyError, TypeError, AttributeError) as error:
            raise CompileError(
                f"'{self._path}' is not a readable file of sensitivities",
                help="remove it, or pass another name",
            ) from error


def _curve(archive: zipfile.ZipFile, names: set[str], number: int, site: Any) -> SiteCurve:
    """One curve of a file; ValueError for arrays that cannot be its."""
    found: dict[str, Any] = {}
    for key in (*_READ_OFF, *_RUN):
        size = len(FINE if key in _READ_OFF else MEASURED)
        member = f"{number}.{key}.npy"
        wanted = key in _READ_OFF or site["measured"] is True
        if wanted != (member in names):
            raise ValueError(f"{key} of site {number} are missing, or too many")
        array = found[key] = npy_checked(archive, member) if wanted else None
        if array is None:
            continue
        if array.shape != (size,) or not (np.isfinite(array) & (array >= 0)).all():
            raise ValueError(f"{key} of site {number} are no curve")
    name, role, unit = (site[key] for key in _PLAIN)
    if not (isinstance(name, str) and isinstance(role, str) and 0 < float(unit) < np.inf):
        raise ValueError(f"site {number} is none")
    return SiteCurve(name, role, float(unit), **found)
