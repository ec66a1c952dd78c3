"""Files of Keras, read without Keras: ``.keras`` (a zip archive) and ``.h5``, both with HDF5 inside.

`main` runs in a process of its own (`rgru.convert._keras_process`).
"""

from __future__ import annotations

import io
import json
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rgru.convert._claims import check_claim, limit_memory
from rgru.convert._keras_model import WEIGHTED, layers_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rgru.convert._keras_model import PlacedLayer

_MEMBERS = ("config.json", "metadata.json", "model.weights.h5")
_SETTINGS_LIMIT = 8 << 20
"""Bytes of settings, which may take fifty times as much memory once they are parsed."""

_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
"""The group of a model's layers in Keras 3, and in the ``.keras`` files of Keras 2."""


def _read(content: io.BytesIO) -> tuple[Any, str, dict[str, NDArray[Any]]]:
    """Return the settings, the version of Keras, and the arrays of its layers by ``{layer}.{array}``."""
    import h5py

    zipped = content.getvalue()[:4] == b"PK\x03\x04"
    if zipped:
        config, version, content = _unzipped(content)
    with h5py.File(content, "r") as file:
        weights = _Weights(h5py, file)
        if not zipped:
            if "model_config" not in file.attrs:
                raise ValueError(
                    "expected a model, got weights alone, without settings: write the file by model.save, or pass "
                    "weights and settings to rgru.convert.keras.from_weights"
                )
            [text], [version] = (weights.texts(file, name) for name in ("model_config", "keras_version"))
            config = _parsed(text)
        arrays_of = weights.by_class if zipped else weights.by_name
        found = {
            f"{k}.{i}": array
            for k, layer in enumerate(layers_of(config))
            if layer.gru is not None or layer.kind in WEIGHTED
            for i, array in enumerate(arrays_of(layer))
        }
    return config, version, found


def main(path: str) -> None:
    """Read a file and write what is in it to the standard output, or an error to the other one."""
    file = Path(path)
    try:
        limit_memory(4 * file.stat().st_size)
        config, version, arrays = _read(io.BytesIO(file.read_bytes()))
        packed = io.BytesIO()
        texts = {"config": np.array(json.dumps(config)), "version": np.array(version)}
        np.savez(packed, allow_pickle=False, **texts, **arrays)
        sys.stdout.buffer.write(packed.getvalue())
    except ValueError as error:
        sys.exit(str(error))
    except Exception as error:  # bytes of unknown origin may raise any
        sys.exit(f"expected a model that Keras has saved, got {error!r}")


def _unzipped(content: io.BytesIO) -> tuple[Any, str, io.BytesIO]:
    with zipfile.ZipFile(content) as archive:
        missing = [name for name in _MEMBERS if name not in archive.namelist()]
        if missing:
            raise ValueError(f"expected a model that Keras has saved, got an archive without {', '.join(missing)}")
        for name in _MEMBERS:
            member = archive.getinfo(name)
            check_claim(name, member.file_size, min(member.compress_size, content.getbuffer().nbytes))
        config, metadata, weights = (archive.read(name) for name in _MEMBERS)
    return _parsed(config), _parsed(metadata)["keras_version"], io.BytesIO(weights)


def _parsed(text: str | bytes) -> Any:
    if len(text) > _SETTINGS_LIMIT:
        raise ValueError(f"expected settings of at most {_SETTINGS_LIMIT} bytes, got {len(text)}")
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"expected settings as JSON, got {text[:40]!r}") from error


class _Weights:
    """The arrays of layers in an HDF5 file. Links to other files are not followed."""

    def __init__(self, h5py: Any, file: Any) -> None:
        self._h5py, self._file = h5py, file
        self._size = file.id.get_filesize()

    def by_class(self, layer: PlacedLayer) -> list[NDArray[Any]]:
        """Return the arrays of a layer in Keras's own format, with groups by class."""
        group = self._file
        for name, place in layer.places:
            container = next((one for one in _CONTAINERS if one in group), "layers")
            group = self._named(self._child(group, container), name, place)
        group = self._child(group, "layer") if layer.wrapped else group
        parts = ("forward_layer", "backward_layer") if "forward_layer" in group else ("",)
        arrays = []
        for part in parts:
            inner = self._child(group, part) if part else group
            variables = self._child(inner if layer.gru is None else self._child(inner, "cell"), "vars")
            arrays += [self._array(self._child(variables, str(i))) for i in range(len(variables))]
        return arrays

    def _named(self, container: Any, name: str, place: str) -> Any:
        """Return the group with a layer's name; in files without names, that of its place."""
        return self._child(container, next((key for key in container if self._name(container, key) == name), place))

    def _name(self, container: Any, key: str) -> str | None:
        group = self._child(container, key)
        variables = self._child(group, "vars") if "vars" in group else group
        return self.texts(variables, "name")[0] if "name" in variables.attrs else None

    def by_name(self, layer: PlacedLayer) -> list[NDArray[Any]]:
        """Return the arrays of a layer in the older format, with groups by name."""
        names = [name for name, _ in layer.places]
        group = self._child(self._child(self._file, "model_weights"), names[0])
        found = [name for name in self._weight_names(group) if len(names) == 1 or f"/{names[-1]}/" in f"/{name}"]
        arrays = []
        for name in found:
            part = group
            for one in name.split("/"):
                part = self._child(part, one)
            arrays.append(self._array(part))
        return arrays

    def _weight_names(self, group: Any) -> list[str]:
        """Return the names of a group's arrays, which Keras splits if they are many."""
        if "weight_names" in group.attrs:
            return self.texts(group, "weight_names")
        parts = [f"weight_names{i}" for i in range(len(group.attrs))]
        return [name for part in parts if part in group.attrs for name in self.texts(group, part)]

    def texts(self, group: Any, name: str) -> list[str]:
        """Return the strings of an attribute."""
        if name not in group.attrs:
            raise ValueError(f"expected the attribute {name!r} of {group.name!r}, got none")
        attribute = group.attrs.get_id(name)
        if 0 in attribute.shape:  # of a layer without weights, whose storage HDF5 cannot tell
            return []
        size = attribute.get_storage_size()  # as claimed
        if size > self._size:
            raise ValueError(f"{name}: expected at most the {self._size} bytes of the file, got {size}")
        values = np.atleast_1d(np.asarray(group.attrs[name], dtype=object)).ravel().tolist()
        return [one.decode() if isinstance(one, bytes) else str(one) for one in values]

    def _child(self, group: Any, name: str) -> Any:
        link = group.get(name, getlink=True)
        if not isinstance(link, self._h5py.HardLink):
            raise ValueError(f"expected {name!r} in {group.name!r}, got none")
        return group[name]

    def _array(self, dataset: Any) -> NDArray[Any]:
        is_array = isinstance(dataset, self._h5py.Dataset) and dataset.ndim <= 2
        if not is_array or (dataset.dtype.kind != "f" and dataset.shape != ()):  # a scaler counts what it has seen
            raise ValueError(f"{dataset.name}: expected an array of floating-point numbers, got another object")
        if dataset.external or dataset.is_virtual:
            raise ValueError(f"{dataset.name}: expected numbers in this file, got those of another one")
        check_claim(dataset.name, dataset.nbytes, min(dataset.id.get_storage_size(), self._size))
        array: NDArray[Any] = dataset[()]
        return array
