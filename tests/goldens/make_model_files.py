"""Make the files of whole models that the conversion tests read, as frameworks write them, with their outputs.

Run on the CPU, in an environment of its own for each framework::

    pip install torch==2.15.0 numpy==2.4.6 && python tests/goldens/make_model_files.py torch
    pip install keras==3.15.1 torch==2.15.0 h5py==3.16.0 && python tests/goldens/make_model_files.py keras
    pip install keras==3.3.3 ... && python tests/goldens/make_model_files.py keras
    pip install flax==0.12.8 equinox==0.13.8 && python tests/goldens/make_model_files.py jax

README.md beside this script lists the files. Nothing here comes from rgru.
"""

import os
import sys
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "models"


def numbers(seed, shape, scale=1.0):
    """Draw from N(0, scale)."""
    return np.random.default_rng(seed).normal(scale=scale, size=shape)


def make_torch():
    """Write a checkpoint with two GRUs among other modules: two directions in float64, and bfloat16."""
    import torch

    torch.manual_seed(0)

    class Translator(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(11, 3)
            self.encoder = torch.nn.ModuleDict(
                {"gru": torch.nn.GRU(3, 4, 2, bidirectional=True, batch_first=True, dtype=torch.float64)}
            )
            self.attention = torch.nn.LSTM(3, 4)
            self.decoder = torch.nn.GRU(3, 4, batch_first=True).bfloat16()

    model = Translator()
    with torch.no_grad():  # as nn.Linear of another layout, and as parts of a longer vector, leave them
        model.encoder["gru"].weight_hh_l0.set_(torch.randn(4, 12, dtype=torch.float64).T)
        model.encoder["gru"].bias_ih_l0.set_(torch.randn(30, dtype=torch.float64)[4:28:2])
    x = numbers(0, (2, 5, 3))
    with torch.no_grad():
        encoded = model.encoder["gru"](torch.from_numpy(x))[0].numpy()
        decoded = model.decoder.float()(torch.from_numpy(x).float())[0].numpy()
    model.decoder.bfloat16()
    optimizer = torch.optim.Adam(model.embedding.parameters())
    content = {"epoch": 3, "loss": [0.5, None], "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(content, FOLDER / "torch_checkpoint.pt")
    np.savez(FOLDER / "torch_checkpoint.npz", x=x, encoded=encoded, decoded=decoded)


def make_keras():
    """Write a model with GRUs of misleading names, one of them in a model of its own, and a stack of like layers."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    version = "_".join(keras.__version__.split(".")[:2])

    def fill(model):
        for k, layer in enumerate(model.layers):
            layer.set_weights([numbers(k, array.shape, 0.5) for array in layer.get_weights()])

    inputs = keras.Input((None, 3))
    inner = keras.Sequential([keras.Input((None, 3)), layers.GRU(4, return_sequences=True, name="gru_7")], name="inner")
    hidden = inner(inputs)
    hidden = layers.GRU(5, return_sequences=True, name="gru_1")(hidden)
    hidden = layers.GRU(5, return_sequences=True, name="gru", recurrent_activation="hard_sigmoid")(hidden)
    hidden = layers.Bidirectional(layers.GRU(4, reset_after=False, return_sequences=True), name="both")(hidden)
    model = keras.Model(inputs, layers.Dense(2)(hidden))
    fill(model)
    x = numbers(0, (2, 6, 3)).astype(np.float32)
    outputs = {
        name: keras.ops.convert_to_numpy(keras.Model(inputs, model.get_layer(name).output)(x))
        for name in ("gru_1", "gru", "both")
    }
    for suffix in ("keras", "h5"):
        model.save(FOLDER / f"keras_{version}_names.{suffix}")
    np.savez(FOLDER / f"keras_{version}_names.npz", x=x, **outputs)

    stack = [keras.Input((None, 3))]
    for k in range(2):
        stack.append(layers.Bidirectional(layers.GRU(4, return_sequences=True, activation="softsign"), "sum"))
        stack += [layers.Dropout(0.25)] if k == 0 else [layers.Dense(2)]
    model = keras.Sequential(stack)
    fill(model)
    model.save(FOLDER / f"keras_{version}_stack.keras")
    states = keras.Sequential(model.layers[:-1])(x)
    np.savez(FOLDER / f"keras_{version}_stack.npz", x=x, y=keras.ops.convert_to_numpy(states))


def make_jax():
    """Write the parameters of a cell of Flax's linen, of nnx and of Equinox, in float64, and their outputs."""
    import equinox
    import jax
    from flax import linen, nnx

    jax.config.update("jax_enable_x64", True)
    x = numbers(0, (2, 6, 3))

    def drawn(tree):
        leaves, form = jax.tree.flatten(tree)
        new = [jax.numpy.asarray(numbers(k, leaf.shape, 0.5)) for k, leaf in enumerate(leaves)]
        return jax.tree.unflatten(form, new)

    def named(tree):
        """Return arrays by the names on the way to them, joined by dots."""
        path = [(path, leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]]
        return {".".join(str(getattr(key, "key", key)) for key in keys): np.asarray(leaf) for keys, leaf in path}

    def scanned(step):
        h, found = jax.numpy.zeros((len(x), 4)), []
        for t in range(x.shape[1]):
            h = step(x[:, t], h)
            found.append(np.asarray(h))
        return np.stack(found, 1)

    cell = linen.GRUCell(4, param_dtype="float64")
    params = drawn(cell.init(jax.random.key(0), jax.numpy.zeros((2, 4)), x[:, 0])["params"])
    y = scanned(lambda x_t, h: cell.apply({"params": params}, h, x_t)[0])
    np.savez(FOLDER / "flax_linen.npz", x=x, y=y, **named(params))

    cell = nnx.GRUCell(3, 4, param_dtype="float64", rngs=nnx.Rngs(0))
    nnx.update(cell, drawn(nnx.state(cell)))
    y = scanned(lambda x_t, h: cell(h, x_t)[0])
    np.savez(FOLDER / "flax_nnx.npz", x=x, y=y, **named(nnx.to_pure_dict(nnx.state(cell))))

    cell = drawn(equinox.nn.GRUCell(3, 4, key=jax.random.key(0)))
    y = scanned(jax.vmap(cell))
    arrays = {name: np.asarray(getattr(cell, name)) for name in ("weight_ih", "weight_hh", "bias", "bias_n")}
    np.savez(FOLDER / "equinox.npz", x=x, y=y, **arrays)


if __name__ == "__main__":
    {"torch": make_torch, "keras": make_keras, "jax": make_jax}[sys.argv[1]]()
