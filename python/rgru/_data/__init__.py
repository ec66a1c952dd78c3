"""Sequences: ragged batches, Arrow columns, names of features and of columns."""
