"""GRUs as functions of JAX, on rgru's kernels: `gru`, under jit, grad and vmap."""

from rgru._optional_imports import needed

needed("jax", "jax")

from rgru.jax._gru import gru  # noqa: E402

__all__ = ["gru"]
