"""Models: GRUs with the layers before and after them."""

from rgru.model._activation import Activation, Dropout
from rgru.model._layer_norm import LayerNorm
from rgru.model._linear import Linear
from rgru.model._model import Model
from rgru.model._pool import Pool

__all__ = ["Activation", "Dropout", "LayerNorm", "Linear", "Model", "Pool"]
