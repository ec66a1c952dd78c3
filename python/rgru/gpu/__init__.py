"""The GPU path: CUDA kernels through CuPy. Nothing here is imported before an array on a GPU, or a device, is used."""
