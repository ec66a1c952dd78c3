"""The benchmark on a GPU: ``python benches/gpu --help``."""
