"""Data sets that are part of rgru, for examples and tests; nothing is ever downloaded."""

from rgru.datasets._japanese_vowels import japanese_vowels_table, load_japanese_vowels

__all__ = ["japanese_vowels_table", "load_japanese_vowels"]
