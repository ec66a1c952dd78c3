"""Kernels as C++: results, barriers, warps, clusters, matrix units, and every kind of error."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import cuda_emulator

if cuda_emulator.missing():
    pytest.skip(cuda_emulator.missing(), allow_module_level=True)


SWITCHES = [{}, {"CUDA_EMULATOR_UCONTEXT": None}]
BOTH = pytest.mark.parametrize("switch", [SWITCHES[0], pytest.param(SWITCHES[1], marks=pytest.mark.slow)])

BLOCKS = """
#ifdef NO_BARRIER
#define BARRIER()
#else
#define BARRIER() __syncthreads()
#endif

// out [gridDim] = sums over each block's slice of x [gridDim, blockDim]
extern "C" __global__ void __launch_bounds__(1024, 1) block_sum(const float* __restrict__ x, float* __restrict__ out) {
    float* sums = reinterpret_cast<float*>(dynamic_shared());
    sums[threadIdx.x] = __ldg(&x[blockIdx.x * blockDim.x + threadIdx.x]);
    __syncthreads();
    for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
        BARRIER();
    }
    if (threadIdx.x == 0) out[blockIdx.x] = sums[0];
}
"""


@BOTH
def test_block_reduction(switch: dict[str, object]) -> None:
    module = cuda_emulator.compile(BLOCKS, switch)
    x = np.random.default_rng(0).integers(-99, 99, (5, 128)).astype(np.float32)
    for seed in range(10):
        out = np.zeros(5, np.float32)
        module.launch("block_sum", 5, 128, [x, out], shared_bytes=512, seed=seed)
        np.testing.assert_array_equal(out, x.sum(axis=1))


def test_a_missing_barrier_shows() -> None:
    """Another order of the threads gives another result; the same seed gives the same one."""
    module = cuda_emulator.compile(BLOCKS, {"NO_BARRIER": None})
    x = np.random.default_rng(0).integers(-99, 99, (1, 128)).astype(np.float32)
    results = []
    for seed in [*range(10), 9]:
        out = np.zeros(1, np.float32)
        module.launch("block_sum", 1, 128, [x, out], shared_bytes=512, seed=seed)
        results.append(out[0].tobytes())
    assert len(set(results)) > 5
    assert results[-1] == results[-2]


GRID = """
__device__ __forceinline__ void grid_barrier(unsigned* counter, unsigned target) {
#ifndef NO_BARRIER
    __syncthreads();
    if (threadIdx.x == 0) {
        add_release(counter, 1);
        while (load_acquire(counter) < target) {}
    }
    __syncthreads();
#endif
}

// x [gridDim * blockDim]: in every step each element is raised by its neighbour's; tmp as large as x
extern "C" __global__ void diffuse(int* x, int* tmp, unsigned* counter, int steps) {
    int n = gridDim.x * blockDim.x, i = blockIdx.x * blockDim.x + threadIdx.x;
    for (int step = 0; step < steps; ++step) {
        tmp[i] = x[i] + x[(i + 1) % n];
        grid_barrier(counter, (2 * step + 1) * gridDim.x);
        x[i] = tmp[i];
        grid_barrier(counter, (2 * step + 2) * gridDim.x);
    }
}
"""


def diffused(module: cuda_emulator.Module, grid: int, block: int, seed: int) -> bool:
    start = np.arange(grid * block, dtype=np.int32) % 7
    x, tmp, counter = start.copy(), np.zeros_like(start), np.zeros(1, np.uint32)
    module.launch("diffuse", grid, block, [x, tmp, counter, np.int32(5)], seed=seed)
    for _ in range(5):
        start = start + np.roll(start, -1)
    return np.array_equal(x, start)


def test_grid_barrier() -> None:
    module = cuda_emulator.compile(GRID)
    assert all(diffused(module, 6, 40, seed) for seed in range(5))
    assert diffused(module, 32, 128, 0)  # 4096 threads
    without = cuda_emulator.compile(GRID, {"NO_BARRIER": None})
    assert not any(diffused(without, 6, 40, seed) for seed in range(5))


CLUSTER = """
#ifndef WAIT
#define WAIT() cluster_wait()
#endif

// out [gridDim, cluster, 4]: what each block of a cluster was sent by each of the others
extern "C" __global__ void __cluster_dims__(4, 1, 1) exchange(unsigned* out) {
    unsigned rank = cluster_rank(), size = cluster_size();
    uint4* received = reinterpret_cast<uint4*>(dynamic_shared());
    if (threadIdx.x < size)
        store_remote(cluster_map(&received[rank], threadIdx.x), make_uint4(rank, threadIdx.x, blockIdx.x, 7));
    cluster_arrive();
    WAIT();
    if (threadIdx.x < size) reinterpret_cast<uint4*>(out)[blockIdx.x * size + threadIdx.x] = received[threadIdx.x];
}

// What the next block of the cluster holds; without a barrier at the end that block may have ended.
extern "C" __global__ void peek(float* out, int wait_at_end) {
    float* mine = reinterpret_cast<float*>(dynamic_shared());
    mine[threadIdx.x] = blockIdx.x;
    cluster_arrive();
    cluster_wait();
    float* theirs = static_cast<float*>(cluster_map(mine, (cluster_rank() + 1) % cluster_size()));
    out[blockIdx.x * blockDim.x + threadIdx.x] = theirs[threadIdx.x];
    if (wait_at_end == 2) theirs[threadIdx.x] = 1;
    if (wait_at_end == 1) {
        cluster_arrive();
        cluster_wait();
    }
}
"""


def exchanged(module: cuda_emulator.Module, seed: int) -> bool:
    out = np.zeros((2, 4, 4, 4), np.uint32)
    module.launch("exchange", 8, 32, [out], shared_bytes=64, cluster=4, seed=seed)
    cluster, receiver, sender = np.indices((2, 4, 4))
    return np.array_equal(out, np.stack([sender, receiver, 4 * cluster + sender, np.full_like(sender, 7)], axis=-1))


def test_cluster_exchange() -> None:
    module = cuda_emulator.compile(CLUSTER)
    assert all(exchanged(module, seed) for seed in range(10))


def test_a_missing_cluster_barrier_shows() -> None:
    """Either a block sends to one that has ended, or someone reads what has not come yet."""
    module = cuda_emulator.compile(CLUSTER, {"WAIT()": None})
    seen = 0
    for seed in range(10):
        try:
            seen += not exchanged(module, seed)
        except cuda_emulator.OutOfBoundsError:
            seen += 1
    assert seen > 5


def test_shared_memory_of_an_ended_block() -> None:
    module = cuda_emulator.compile(CLUSTER)
    lost, written = False, False
    for seed in range(20):
        out = np.zeros((2, 32), np.float32)
        module.launch("peek", 2, 32, [out, np.int32(1)], shared_bytes=128, cluster=2, seed=seed)
        np.testing.assert_array_equal(out, [[1.0] * 32, [0.0] * 32])
        module.launch("peek", 2, 32, [out, np.int32(0)], shared_bytes=128, cluster=2, seed=seed)
        lost |= bool(np.isnan(out).any())
        try:
            module.launch("peek", 2, 32, [out, np.int32(2)], shared_bytes=128, cluster=2, seed=seed)
        except cuda_emulator.OutOfBoundsError as error:
            written |= "after it had ended" in str(error)
    assert lost
    assert written


WARPS = """
// out [4, 64]
extern "C" __global__ void shuffles(const float* x, const double* d, float* out, double* out_d, unsigned* out_u) {
    unsigned i = threadIdx.x, all = 0xFFFFFFFF;
    out[i] = __shfl_down_sync(all, x[i], 3);
    out[64 + i] = __shfl_xor_sync(all, x[i], 5);
    out[128 + i] = __shfl_sync(all, x[i], int(i * 7 % 32));
    out[192 + i] = __shfl_down_sync(all, x[i], 3, 8);
    out_d[i] = __shfl_xor_sync(all, d[i], 16);
    out_u[i] = __shfl_sync(all, i * 3, 31);
    if (i % 32 < 16) out_u[i] += __shfl_xor_sync(0xFFFF, int(i), 1);  // half a warp by itself
    __syncwarp();
    float sum = x[i];
    for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(all, sum, offset);
    out[256 + i] = sum;
}

extern "C" __global__ void exchange_by_shared_memory(int* out) {
    int* mine = reinterpret_cast<int*>(dynamic_shared());
    mine[threadIdx.x] = threadIdx.x;
#ifndef NO_BARRIER
    __syncwarp();
#endif
    out[threadIdx.x] = mine[threadIdx.x ^ 1];
}
"""


def test_shuffles() -> None:
    module = cuda_emulator.compile(WARPS)
    rng = np.random.default_rng(1)
    x, d = rng.integers(0, 999, 64).astype(np.float32), rng.standard_normal(64)
    out, out_d, out_u = np.zeros((5, 64), np.float32), np.zeros(64), np.zeros(64, np.uint32)
    module.launch("shuffles", 1, 64, [x, d, out, out_d, out_u])
    i = np.arange(64)
    lane, warp = i % 32, i // 32 * 32
    np.testing.assert_array_equal(out[0], x[np.where(lane + 3 < 32, i + 3, i)])
    np.testing.assert_array_equal(out[1], x[i ^ 5])
    np.testing.assert_array_equal(out[2], x[warp + i * 7 % 32])
    np.testing.assert_array_equal(out[3], x[np.where(i % 8 + 3 < 8, i + 3, i)])
    np.testing.assert_array_equal(out[4], np.repeat(x.reshape(2, 32).sum(axis=1), 32))
    np.testing.assert_array_equal(out_d, d[i ^ 16])
    np.testing.assert_array_equal(out_u, (warp + 31) * 3 + np.where(lane < 16, i ^ 1, 0))


def test_a_missing_warp_barrier_shows() -> None:
    for defines, right in (({}, True), ({"NO_BARRIER": None}, False)):
        module = cuda_emulator.compile(WARPS, defines)
        for seed in range(5):
            out = np.zeros(64, np.int32)
            module.launch("exchange_by_shared_memory", 1, 64, [out], shared_bytes=256, seed=seed)
            assert np.array_equal(out, np.arange(64) ^ 1) == right


MMA = """
__device__ unsigned pair(unsigned short low, unsigned short high) { return low | unsigned(high) << 16; }

// c [16, 8] += a [16, K] b [8, K]^T, once for each warp's own matrices
extern "C" __global__ void multiply(const float* a, const float* b, float* c) {
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, group = lane >> 2, in_group = lane & 3;
    a += warp * 16 * K, b += warp * 8 * K, c += warp * 16 * 8;
    unsigned fa[4], fb[2];
    float fc[4];
#if K == 16
    for (int i = 0; i < 4; ++i) {
        const float* p = a + (group + i % 2 * 8) * K + in_group * 2 + i / 2 * 8;
        fa[i] = pair(CONVERT(p[0]), CONVERT(p[1]));
    }
    for (int i = 0; i < 2; ++i) {
        const float* p = b + group * K + in_group * 2 + i * 8;
        fb[i] = pair(CONVERT(p[0]), CONVERT(p[1]));
    }
#else
    for (int i = 0; i < 4; ++i) fa[i] = CONVERT(a[(group + i % 2 * 8) * K + in_group + i / 2 * 4]);
    for (int i = 0; i < 2; ++i) fb[i] = CONVERT(b[group * K + in_group + i * 4]);
#endif
    for (int i = 0; i < 4; ++i) fc[i] = c[(group + i / 2 * 8) * 8 + in_group * 2 + i % 2];
    MULTIPLY(fc, fa, fb);
    for (int i = 0; i < 4; ++i) c[(group + i / 2 * 8) * 8 + in_group * 2 + i % 2] = fc[i];
}
"""
RAW = "__device__ unsigned raw(float x) { unsigned u; memcpy(&u, &x, 4); return u; }\n"


def rounded(x: np.ndarray, kind: str) -> np.ndarray:
    if kind == "f16":
        return x.astype(np.float16).astype(np.float32)
    bits = x.view(np.uint32)
    if kind == "bf16":
        return ((bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)).view(np.float32)
    return (bits & np.uint32(0xFFFFE000)).view(np.float32)  # tf32: the multiplication drops the lower bits


@pytest.mark.parametrize(
    ("kind", "depth", "convert"),
    [
        ("f16", 16, "to_f16"),
        pytest.param("bf16", 16, "to_bf16", marks=pytest.mark.slow),
        pytest.param("tf32", 8, "raw", marks=pytest.mark.slow),
    ],
)
def test_mma(kind: str, depth: int, convert: str) -> None:
    name = f"mma_m16n8k{depth}_{kind}"
    module = cuda_emulator.compile(RAW + MMA, {"K": depth, "CONVERT": convert, "MULTIPLY": name})
    rng = np.random.default_rng(2)
    a, b, c = (rng.standard_normal(shape, np.float32) for shape in ((3, 16, depth), (3, 8, depth), (3, 16, 8)))
    out = c.copy()
    module.launch("multiply", 1, 96, [a, b, out])
    exact = c + rounded(a, kind).astype(np.float64) @ rounded(b, kind).astype(np.float64).transpose(0, 2, 1)
    np.testing.assert_allclose(out, exact, rtol=0, atol=5e-6)


CONVERSIONS = """
extern "C" __global__ void narrow(const float* x, unsigned short* f16, unsigned short* bf16, float* tf32, int n) {
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        f16[i] = to_f16(x[i]);
        bf16[i] = to_bf16(x[i]);
        tf32[i] = to_tf32(x[i]);
    }
}
extern "C" __global__ void widen(const unsigned short* x, float* f16, float* bf16) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    f16[i] = from_f16(x[i]);
    bf16[i] = from_bf16(x[i]);
}
"""


def test_conversions() -> None:
    module = cuda_emulator.compile(CONVERSIONS)
    halves = np.arange(65536, dtype=np.uint16)
    f16, bf16 = np.zeros(65536, np.float32), np.zeros(65536, np.float32)
    module.launch("widen", 256, 256, [halves, f16, bf16])
    np.testing.assert_array_equal(f16, halves.view(np.float16).astype(np.float32))
    np.testing.assert_array_equal(bf16, (halves.astype(np.uint32) << 16).view(np.float32))

    finite = np.sort(f16[np.isfinite(f16)])
    ties = (finite[1:] + finite[:-1]) / 2
    bits = np.random.default_rng(3).integers(0, 2**32, 200_000, dtype=np.uint32)
    tf32_ties = (bits & np.uint32(0xFFFFE000)) | np.uint32(0x1000)
    special = np.float32([0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 65504, 65519.99, 65520, 1e-8, 3e-8, 3.4e38])
    near = [ties, np.nextafter(ties, np.float32(np.inf)), np.nextafter(ties, np.float32(-np.inf))]
    x = np.concatenate([special, finite, *near, bits.view(np.float32), tf32_ties.view(np.float32)])
    f16, bf16, tf32 = np.zeros(x.size, np.uint16), np.zeros(x.size, np.uint16), np.zeros(x.size, np.float32)
    module.launch("narrow", 1, 64, [x, f16, bf16, tf32, np.int32(x.size)])

    nan = np.isnan(x)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(f16[~nan], x.astype(np.float16).view(np.uint16)[~nan])
    b = x.view(np.uint32).astype(np.uint64)[~nan]
    np.testing.assert_array_equal(bf16[~nan], (b + 0x7FFF + (b >> 16 & 1)) >> 16)
    np.testing.assert_array_equal(tf32.view(np.uint32)[~nan], (b + 0x1000) & 0xFFFFE000)
    assert np.isnan(f16.view(np.float16)[nan]).all()
    assert np.isnan((bf16.astype(np.uint32) << 16).view(np.float32)[nan]).all()
    assert np.isnan(tf32[nan]).all()
    assert not (tf32.view(np.uint32) & 0x1FFF).any()


ARITHMETIC = """
extern "C" __global__ void arithmetic(float* f, double* d, int* n, float2* pairs, double2* wide, int4* ints) {
    f[0] = max(min(2.0f, 3.0f), 1.0f) + fmaf(2.0f, 3.0f, 1.0f) + expf(0.0f) + tanhf(0.0f);
    d[0] = max(min(2.0, 3.0), 1.0f) + fma(2.0, 3.0, 1.0) + exp(0.0) + tanh(0.0);
    n[0] = max(min(2, 3), -1);
    pairs[0] = make_float2(1, 2);
    wide[0] = make_double2(3, 4);
    ints[0] = make_int4(5, 6, 7, 8);
}

// More of each kind than there are registers
extern "C" __global__ void many(double* out, int a, float b, long long c, double d, unsigned e, float f, int g, int h,
                                float i, float j, float k, double l, float m, float n, int o, double p, const int* q) {
    double all[] = {double(a), b, double(c), d, double(e), f, double(g), double(h), i, j, k, l, m, n, double(o), p};
    for (int s = 0; s < 16; ++s) out[s] = all[s];
    out[16] = q == nullptr;
}
"""


def test_arithmetic_and_vectors() -> None:
    module = cuda_emulator.compile(ARITHMETIC)
    f, d, n = np.zeros(1, np.float32), np.zeros(1), np.zeros(1, np.int32)
    pairs, wide, ints = np.zeros(2, np.float32), np.zeros(2), np.zeros(4, np.int32)
    module.launch("arithmetic", 1, 1, [f, d, n, pairs, wide, ints])
    assert (f[0], d[0], n[0]) == (10, 10, 2)
    assert [*pairs, *wide, *ints] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_arguments_of_every_kind() -> None:
    module = cuda_emulator.compile(ARITHMETIC)
    types = (
        *(np.int32, np.float32, np.int64, np.float64, np.uint32, np.float32, np.int32, np.int32),
        *(np.float32, np.float32, np.float32, np.float64, np.float32, np.float32, np.int32, np.float64),
    )
    values = [-1, 0.5, -(2**40), 1 / 3, 2**32 - 1, -0.25, 7, -8, 9.5, 10.5, 11.5, 1e300, 13.5, 14.5, -15, 1 / 7]
    out = np.zeros(17)
    args = [out, *(kind(value) for kind, value in zip(types, values, strict=True)), None]
    module.launch("many", 2, 3, args)
    np.testing.assert_array_equal(out, [*values, 1])


def test_wrong_arguments() -> None:
    module = cuda_emulator.compile(CONVERSIONS)
    x = np.zeros(8, np.float32)
    with pytest.raises(TypeError, match="takes 3 arguments, not 2"):
        module.launch("widen", 1, 1, [x, x])
    with pytest.raises(TypeError, match="'int n' cannot be int64"):
        module.launch("narrow", 1, 1, [x, x, x, x, np.int64(1)])
    with pytest.raises(TypeError, match=r"'float\* f16' cannot be"):
        module.launch("widen", 1, 1, [x, np.float32(1), x])
    with pytest.raises(TypeError, match="argument 2 is a int"):
        module.launch("widen", 1, 1, [x, x, 3])
    with pytest.raises(ValueError, match="not contiguous"):
        module.launch("widen", 1, 1, [x, x, x[::2]])
    with pytest.raises(AttributeError):
        module.launch("none", 1, 1, [])
    with pytest.raises(cuda_emulator.EmulatorError, match="<text>:2"):
        cuda_emulator.compile("\nnonsense")


WRONG = """
extern "C" __global__ void lonely(const unsigned* counter) {
    if (threadIdx.x == 0)
        while (load_acquire(counter) == 0) {}
    __syncthreads();
}
extern "C" __global__ void early_end() {
    if (threadIdx.x < 5) return;
    __syncthreads();
}
extern "C" __global__ void two_kinds() {
    if (threadIdx.x % 2) __syncthreads();
    else __syncwarp();
}
extern "C" __global__ void one_waits() {
    if (blockIdx.x == 0) __syncthreads();
    else if (threadIdx.x > 0) __syncthreads();
}
extern "C" __global__ void one_block_stays_away() {
    if (blockIdx.x % 2 == 0)
        while (load_acquire(reinterpret_cast<unsigned*>(dynamic_shared())) != 0) {}
    cluster_arrive();
    cluster_wait();
}
extern "C" __global__ void no_arrival() { cluster_wait(); }
extern "C" __global__ void no_wait() { cluster_arrive(); cluster_arrive(); }
extern "C" __global__ void foreign_mask() { __syncwarp(1); }
extern "C" __global__ void small_warp() {
    float c[4] = {};
    unsigned a[4] = {}, b[2] = {};
    mma_m16n8k16_f16(c, a, b);
}
extern "C" __global__ void write_at(int byte) { if (threadIdx.x == 3) dynamic_shared()[byte] = 1; }
extern "C" __global__ void map_at(int byte, int rank) { cluster_map(dynamic_shared() + byte, rank); }
extern "C" __global__ void store_at(int byte) { store_remote(dynamic_shared() + byte, make_uint4(1, 2, 3, 4)); }
extern "C" __global__ void large_frame() {
    volatile char frame[70000];
    for (char volatile& byte : frame) byte = 1;
}
extern "C" __global__ void read_all(float* out) {
    out[threadIdx.x] = reinterpret_cast<float*>(dynamic_shared())[threadIdx.x];
    reinterpret_cast<float*>(dynamic_shared())[threadIdx.x] = 1;
}
"""


@BOTH
def test_a_deadlock_is_told(switch: dict[str, object]) -> None:
    module = cuda_emulator.compile(WRONG, switch)
    for _ in range(2):  # the module can be used after an error
        with pytest.raises(cuda_emulator.DeadlockError) as caught:
            module.launch("lonely", 3, 64, [np.zeros(1, np.uint32)])
        assert "lonely: deadlock: 192 of 192 threads wait for ever" in str(caught.value)
        assert "block 0, 1, 2: 63 at __syncthreads, 1 in load_acquire" in str(caught.value)
    module.launch("lonely", 3, 64, [np.ones(1, np.uint32)])
    with pytest.raises(
        cuda_emulator.DeadlockError, match=r"block 0, 2: 32 in load_acquire\n.*1, 3: 32 at cluster_wait"
    ):
        module.launch("one_block_stays_away", 4, 32, [], shared_bytes=16, cluster=2)


def test_divergence_is_told() -> None:
    module = cuda_emulator.compile(WRONG)
    for name, told in (
        ("early_end", "block 0, 1: 59 at __syncthreads, 5 ended"),
        ("two_kinds", "block 0, 1: 32 at __syncthreads, 32 at __syncwarp"),
        ("one_waits", "63 of 128 threads wait for ever\n  block 1: 63 at __syncthreads, 1 ended"),
    ):
        with pytest.raises(cuda_emulator.DivergenceError, match=told):
            module.launch(name, 2, 64, [])


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("no_arrival", "cluster_wait without cluster_arrive"),
        ("no_wait", "cluster_arrive twice"),
        ("foreign_mask", "its lane is not in its mask 00000001"),
        ("small_warp", "all 32 threads"),
    ],
)
def test_misuse_is_told(name: str, told: str) -> None:
    with pytest.raises(cuda_emulator.EmulatorError, match=told):
        cuda_emulator.compile(WRONG).launch(name, 2, 20, [], cluster=2)


def test_out_of_bounds_is_told() -> None:
    module = cuda_emulator.compile(WRONG)
    for byte in (0, 99):
        module.launch("write_at", 2, 32, [np.int32(byte)], shared_bytes=100)
    for byte in (-1000, -1, 100, 1100):
        with pytest.raises(cuda_emulator.OutOfBoundsError, match=f"byte {byte} of its 100 bytes"):
            module.launch("write_at", 2, 32, [np.int32(byte)], shared_bytes=100)
    for byte, rank in ((101, 0), (-1, 1), (0, 2)):
        with pytest.raises(cuda_emulator.EmulatorError, match="cluster_map"):
            module.launch("map_at", 2, 32, [np.int32(byte), np.int32(rank)], shared_bytes=100, cluster=2)
    for byte in (-16, 8, 96):
        with pytest.raises(cuda_emulator.EmulatorError, match="store_remote"):
            module.launch("store_at", 2, 32, [np.int32(byte)], shared_bytes=100)
    with pytest.raises(cuda_emulator.OutOfBoundsError, match="stack"):
        module.launch("large_frame", 1, 1, [])


def test_shared_memory_begins_as_nan() -> None:
    module = cuda_emulator.compile(WRONG)
    for _ in range(2):
        out = np.zeros(32, np.float32)
        module.launch("read_all", 1, 32, [out], shared_bytes=128)
        assert np.isnan(out).all()


def test_modules_and_threads_do_not_meet() -> None:
    """The same kernel in two libraries and in several threads of Python."""
    modules = [cuda_emulator.compile(BLOCKS, switch) for switch in SWITCHES]
    x = np.ones((4, 64), np.float32)

    def launch(i: int) -> float:
        out = np.zeros(4, np.float32)
        modules[i % 2].launch("block_sum", 4, 64, [x, out], shared_bytes=256, seed=i)
        return float(out.sum())

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(launch, range(40))) == {256.0}


@pytest.mark.slow
def test_processes_share_the_libraries(tmp_path: Path) -> None:
    """Three that begin together: each may build, each gets a whole library."""
    source = tmp_path / "kernels.cu"
    source.write_text('extern "C" __global__ void one(int* x) { x[0] = 1; }\n')
    program = (
        "import sys, pathlib, numpy as np, cuda_emulator; x = np.zeros(1, np.int32);"
        "cuda_emulator.compile(pathlib.Path(sys.argv[1])).launch('one', 1, 1, [x]); assert x[0] == 1"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src"), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", program, str(source)]
    running = [subprocess.Popen(command, env=environment) for _ in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    (folder,) = tmp_path.glob("cuda-emulator-*")
    assert sorted(path.suffix for path in folder.rglob("*")) == ["", ".gch", ".so"]
