"""The GRU on NVIDIA GPUs: CUDA kernels through CuPy, which is imported when a GPU is asked for."""
