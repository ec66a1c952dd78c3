"""Keras does not look for an installed backend; test_on_jax.py sets the other one."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")
