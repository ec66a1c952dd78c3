"""Measure what a call costs the host, beside PyTorch, and profile it."""

import cProfile
import pstats
import time

import cupy
import torch

from gpu.contenders import ours, to_cupy, torch_module, weights
from gpu.forms import bound_waits


def microseconds(run, times: int = 300) -> float:
    """Return the time of putting a call into the stream, without waiting for it."""
    for _ in range(20):
        run()
    cupy.cuda.Device().synchronize()
    begun = time.perf_counter()
    for _ in range(times):
        run()
    took = time.perf_counter() - begun
    cupy.cuda.Device().synchronize()
    return 1e6 * took / times


def main() -> None:
    """Print the times, then where those of the last call go."""
    bound_waits()
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream, torch.cuda.stream(torch.cuda.ExternalStream(stream.ptr)):
        module, gru = weights(64, 64)
        for steps in (1, 10):
            x, dy = torch.randn(steps, 1, 64, device="cuda"), torch.randn(steps, 1, 64, device="cuda")
            for training in (False, True):
                run = ours(gru, to_cupy(x), to_cupy(dy), training)
                theirs = torch_module(module, x, dy, training)
                what = "training" if training else "inference"
                print(f"host, {what}, T={steps}: rgru {microseconds(run):.0f} us, torch {microseconds(theirs):.0f} us")
        profile = cProfile.Profile()
        profile.enable()
        microseconds(run)
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(18)


if __name__ == "__main__":
    main()
