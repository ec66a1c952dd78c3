"""Files of Keras are read in a process of their own, which a damaged file can block or crash without harm.

The HDF5 library checks little of what it reads: some damaged files keep it busy for ever, or make it ask for gigabytes.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rgru._optional_imports import needed
from rgru.convert._keras_model import KerasModel, layers_of

if TYPE_CHECKING:
    from rgru.convert._keras_model import PlacedLayer

_CODE = """
import json, sys
sys.path[:] = json.loads(sys.argv[2])
from rgru.convert._keras_file import main
main(sys.argv[1])
"""
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""NumPy's libraries reserve memory for each thread, and memory is limited."""

_SECONDS, _BYTES_PER_SECOND = 20, 10_000_000
"""How long a file may take: these seconds, and one more for each of these bytes."""


def read_model(path: str | os.PathLike[str]) -> KerasModel:
    """Read a file that ``model.save`` has written; only the weights of layers that rgru has are kept.

    Raises
    ------
    ImportError
        If h5py is not installed.
    OSError
        If the file cannot be read.
    ValueError
        If it is damaged, of another form, or claims more than is there; the message does not name the file.
    """
    if importlib.util.find_spec("h5py") is None:
        needed("h5py", "h5")
    path = Path(path)
    with path.open("rb"):  # raises the usual errors about a path
        seconds = _SECONDS + path.stat().st_size / _BYTES_PER_SECOND
    command = [sys.executable, "-c", _CODE, str(path), json.dumps(sys.path)]
    try:
        environment = {**os.environ, **_ONE_THREAD}
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"expected a model that Keras has saved, got none in {seconds:.0f} s") from error
    if done.returncode:
        *_, last = (
            "expected a model that Keras has saved, got a crash",
            *done.stderr.decode(errors="replace").splitlines(),
        )
        raise ValueError(last)
    with np.load(io.BytesIO(done.stdout), allow_pickle=False) as file:
        found = {name: file[name] for name in file.files}
    config = json.loads(str(found.pop("config")))
    places = {layer.places: k for k, layer in enumerate(layers_of(config))}

    def weights(layer: PlacedLayer) -> list[Any]:
        k = places[layer.places]
        return [found[f"{k}.{i}"] for i in range(sum(name.startswith(f"{k}.") for name in found))]

    return KerasModel(config, str(found.pop("version")), weights)
