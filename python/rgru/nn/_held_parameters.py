"""The parameters of a GRU: the flat array, its views by name, and the packed weights made of it."""

from __future__ import annotations

import math
import os
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from rgru import _core
from rgru._files.pretrained import Pretrained
from rgru._validation.arrays import own
from rgru.nn._embedding import split, training_weights, with_embedding
from rgru.nn._params import Layer, Params
from rgru.nn._settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike
    from typing_extensions import Self

    from rgru.nn._params import Layout


class HeldParameters(Settings, Pretrained):
    """The settings of a GRU with its parameters; the base of `rgru.GRU`."""

    _flat: Any  # the array (P,) of all parameters

    def _begin(self, seed: int) -> None:
        """Set everything but the parameters, after the settings."""
        self._seed = seed
        self._masks = 0  # how many times `record` has drawn dropout masks
        layout = {name: (tuple(shape), start) for name, shape, start in _core.layout(self._core_sizes)}
        self._layout: Layout = with_embedding(layout, self)
        self._lock = Lock()
        self._version = 0  # of the parameters
        self._packed: dict[bool, Any] = {}  # packed weights for inference, and for training too
        self._on_gpus: dict[int, Any] = {}  # packed weights by the index of the GPU
        self._captured: list[Any] = []  # old weights that captured graphs still read

    # -- parameters ------------------------------------------------------------------------------------------------

    @property
    def num_params(self) -> int:
        """P, the total number of parameters."""
        return int(self._flat.size)

    @property
    def params(self) -> Params:
        """All parameters by name, see `rgru.nn.Params`; assign to an item to change it."""
        return Params(self._flat, self._layout, self._changed, self._meaning)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, with their parameters by the names in the equations: ``gru.layers[0].fwd.W_xr``."""
        params = self.params
        return tuple(Layer(params, k) for k in range(self.num_layers))

    def _changed(self) -> None:
        """Discard the packed weights; to be called after every change of `_flat`."""
        with self._lock:
            self._version += 1
            self._packed = {}
            self._captured += [weights for weights in self._on_gpus.values() if weights.captured]
            self._on_gpus = {}

    def _weights_for(self, values: Any, training: bool = False) -> Any:
        """Return the packed weights on the device of `values`, an array from `_inputs`."""
        return self._weights(training) if type(values) is np.ndarray else self._gpu_weights(values.device.id)

    def _gpu_weights(self, index: int) -> Any:
        weights = self._on_gpus.get(index)
        if weights is None:
            from rgru._cuda.device import open_device
            from rgru._cuda.stack import Weights

            version, device = self._version, open_device(index)
            with device.current([]):
                make = lambda flat, sizes, training: Weights(device, flat, sizes)  # noqa: E731 - serves both
                weights = training_weights(make, device.array(self._flat), self)
            with self._lock:
                if self._version == version:
                    self._on_gpus[index] = weights
        return weights

    def _weights(self, training: bool = False) -> Any:
        # Weights for training serve inference too, but with ids those for inference are a table, and faster.
        packed = self._packed.get(training) or (self._packed.get(True) if self.vocabulary is None else None)
        if packed is not None:
            return packed
        version = self._version
        if training:
            packed = training_weights(_core.Weights, self._flat, self)
        elif self.vocabulary is None:
            packed = _core.Weights(self._flat, self._core_sizes, training=False)
        else:
            cells, embedding = split(self._flat, self)
            packed = _core.Weights.with_ids(cells, self._core_sizes, embedding)
        with self._lock:
            if self._version == version:  # else the parameters have changed meanwhile, and this copy is outdated
                self._packed[training] = packed
        return packed

    def _mask_seed(self) -> int:
        """Return the next seed for dropout masks: SplitMix64 (Steele et al. 2014), started at the GRU's seed."""
        if not (self._dropout or self.recurrent_dropout or self.zoneout):
            return 0
        with self._lock:
            self._masks += 1
            state = (self._seed + self._masks * 0x9E3779B97F4A7C15) % 2**64
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ state >> 27) * 0x94D049BB133111EB % 2**64
        return state ^ state >> 31

    # -- files, pickling -------------------------------------------------------------------------------------------

    @classmethod
    def _from_saved(cls, config: Mapping[str, Any], tensors: Mapping[str, ArrayLike]) -> Self:
        """Make a GRU of its `_config` and all its parameters by name; no initial values are drawn."""
        gru = cls.__new__(cls)
        Settings.__init__(gru, **config)
        gru._begin(int.from_bytes(os.urandom(8), "little"))
        if set(tensors) != set(gru._layout):
            missing, strange = sorted(set(gru._layout) - set(tensors)), sorted(set(tensors) - set(gru._layout))
            raise ValueError(f"tensors: expected those of {gru!r}; missing are {missing}, unexpected {strange}")
        size = sum(math.prod(shape) for shape, _ in gru._layout.values())
        given = sum(np.size(array) for array in tensors.values())
        if given != size:  # before memory is allocated for sizes that a damaged file may claim
            raise ValueError(f"tensors: expected {size} numbers in all for {gru!r}, got {given}")
        gru._flat = np.empty(size, gru._dtype)
        gru.params.update(tensors)
        return gru

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        del state["_lock"], state["_packed"], state["_on_gpus"], state["_captured"]
        state["_flat"] = self._flat.copy()  # a shallow copy must not share an array that it can change
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._flat = own(self._flat)
        self._lock = Lock()
        self._packed = {}
        self._on_gpus = {}
        self._captured = []
