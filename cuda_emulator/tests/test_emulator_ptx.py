"""Kernels as PTX: compiled small kernels compute what their source says, and their accesses are checked."""

from fractions import Fraction

import numpy as np
import pytest

import cuda_emulator
from cuda_emulator import nvrtc

if cuda_emulator.missing():
    pytest.skip(cuda_emulator.missing(), allow_module_level=True)
if nvrtc.missing():
    pytest.skip(nvrtc.missing(), allow_module_level=True)


def compiled(source, capability=90):
    return cuda_emulator.compile_ptx(nvrtc.ptx(source, {}, capability))


FLOATS = """
extern "C" __global__ void single(const float* a, const float* b, const float* c, float (*out)[9], int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    out[i][0] = expf(a[i]), out[i][1] = tanhf(a[i]), out[i][2] = 1.0f / b[i], out[i][3] = __fmaf_rd(a[i], b[i], c[i]);
    out[i][4] = fmaf(a[i], b[i], c[i]), out[i][5] = copysignf(a[i], b[i]), out[i][6] = a[i] < b[i] ? 1.0f : -a[i];
    out[i][7] = rintf(a[i]), out[i][8] = a[i] != a[i] || b[i] != b[i];
}
extern "C" __global__ void wide(
    const double* a, const double* b, const float* c, double (*out)[7], float* narrow, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    out[i][0] = exp(a[i]), out[i][1] = tanh(a[i]), out[i][2] = 1.0 / b[i], out[i][3] = a[i] / b[i];
    out[i][4] = double(c[i]), out[i][5] = double(unsigned(i) * 2654435761u);
    out[i][6] = a[i] != a[i] || b[i] != b[i], narrow[i] = float(a[i]);
}
"""  # fmt: skip


def ulps(found, exact):
    """Distance in units of the last place of `exact`."""
    return np.abs(found.astype(np.longdouble) - exact) / np.spacing(np.abs(exact).astype(found.dtype))


@pytest.mark.slow
def test_floating_point():
    module = compiled(FLOATS)
    rng = np.random.default_rng(0)
    a, b, c = (
        rng.standard_normal(4000, np.float32) * 10 ** rng.uniform(-3, 1, 4000).astype(np.float32) for _ in range(3)
    )
    out = np.zeros((4000, 9), np.float32)
    module.launch("single", 32, 128, [a, b, c, out, np.int32(4000)])
    wide = a.astype(np.float64)
    assert ulps(out[:, 0], np.exp(wide)).max() < 2  # CUDA's own limits
    assert ulps(out[:, 1], np.tanh(wide)).max() < 2
    np.testing.assert_array_equal(out[:, 2], 1 / b)
    np.testing.assert_array_equal(out[:, 5], np.copysign(a, b))
    np.testing.assert_array_equal(out[:, 6], np.where(a < b, np.float32(1), -a))
    np.testing.assert_array_equal(out[:, 7], np.rint(a))
    for i in range(1000):
        exact = Fraction(float(a[i])) * Fraction(float(b[i])) + Fraction(float(c[i]))
        down, near = out[i, 3], out[i, 4]
        assert Fraction(float(down)) <= exact < Fraction(float(np.nextafter(down, np.float32(np.inf))))
        assert abs(Fraction(float(near)) - exact) <= Fraction(float(np.spacing(np.abs(near)))) / 2

    a, b = (rng.standard_normal(4000) * 10 ** rng.uniform(-3, 1.5, 4000) for _ in range(2))
    out, narrow = np.zeros((4000, 7)), np.zeros(4000, np.float32)
    module.launch("wide", 32, 128, [a, b, c, out, narrow, np.int32(4000)])
    assert ulps(out[:, 0], np.exp(a.astype(np.longdouble))).max() < 2
    assert ulps(out[:, 1], np.tanh(a.astype(np.longdouble))).max() < 3
    np.testing.assert_array_equal(out[:, 2], 1 / b)
    np.testing.assert_array_equal(out[:, 3], a / b)
    np.testing.assert_array_equal(out[:, 4], c)
    assert not out[:, 6].any()
    np.testing.assert_array_equal(out[:, 5], (np.arange(4000, dtype=np.uint32) * np.uint32(2654435761)).astype(float))
    np.testing.assert_array_equal(narrow, a.astype(np.float32))


def test_subnormal_numbers_are_zero():
    """As with CuPy's -ftz=true."""
    a = np.float32([1e-40, -1e-40, 1e-30, np.inf, np.nan])
    out = np.zeros((5, 9), np.float32)
    compiled(FLOATS).launch(
        "single", 1, 5, [a, np.float32([1, 1, 1e-10, 1, 1]), np.zeros(5, np.float32), out, np.int32(5)]
    )
    np.testing.assert_array_equal(out[:, 4], np.float32([0, 0, 0, np.inf, np.nan]))
    np.testing.assert_array_equal(out[:, 0], np.float32([1, 1, 1, np.inf, np.nan]))
    np.testing.assert_array_equal(out[:, 1], np.float32([0, 0, 1e-30, 1, np.nan]))
    np.testing.assert_array_equal(out[:, 8], np.float32([0, 0, 0, 0, 1]))


def test_not_a_number_has_the_bits_of_a_gpu():
    """CUDA C++ programming guide, floating-point standard: whatever the operands, in single precision."""
    source = 'extern "C" __global__ void differ(float* a) { a[threadIdx.x] -= a[3]; }'
    a = np.float32([np.inf, np.nan, 1, np.inf])
    compiled(source).launch("differ", 1, 3, [a])
    assert a.view(np.uint32).tolist() == [0x7FFFFFFF, 0x7FFFFFFF, 0xFF800000, 0x7F800000]


WHOLE = """
extern "C" __global__ void whole(const int* a, const int* b, int (*out)[13], long long (*wide)[7]) {
    const int i = threadIdx.x, x = a[i], y = b[i];
    const unsigned u = x, v = y, by = y & 31;
    out[i][0] = x / y, out[i][1] = x % y, out[i][2] = x / 7, out[i][3] = u % 11u, out[i][4] = u / v;
    out[i][5] = x >> by, out[i][6] = u >> by, out[i][7] = u << by | u >> (32 - by) % 32;
    asm("prmt.b32 %0, %1, %2, 0x7b42;" : "=r"(out[i][8]) : "r"(u), "r"(v));
    out[i][9] = __umulhi(u, v), out[i][10] = min(x, y);
    out[i][11] = (u & ~0xff0u) | (v & 0xffu) << 4;
    asm("dp2a.lo.u32.u32 %0, %1, %2, %3;" : "=r"(out[i][12]) : "r"(u), "r"(v), "r"(by));
    wide[i][0] = (long long)x * y, wide[i][1] = (unsigned long long)u * v, wide[i][2] = (long long)x << by;
    wide[i][3] = (short)x, wide[i][4] = (unsigned short)y;
    wide[i][5] = __mul64hi((long long)x << 31, (long long)y << 31);
    asm("bfi.b64 %0, %1, %2, %3, 40;" : "=l"(wide[i][6]) : "l"(wide[i][1]), "l"(wide[i][0]), "r"(by));
}
"""


def test_whole_numbers():
    rng = np.random.default_rng(1)
    a, b = (rng.integers(-(2**31), 2**31, 200).astype(np.int32) >> rng.integers(0, 30, 200) | 1 for _ in range(2))
    a, b = a.astype(np.int32), b.astype(np.int32)
    out, wide = np.zeros((200, 13), np.int32), np.zeros((200, 7), np.int64)
    compiled(WHOLE).launch("whole", 1, 200, [a, b, out, wide])
    for x, y, row, long in zip(a.tolist(), b.tolist(), out.tolist(), wide.tolist(), strict=True):
        u, v, by = x % 2**32, y % 2**32, y & 31
        quotient = abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
        seventh = abs(x) // 7 * (1 if x > 0 else -1)
        low, high = ([word >> 8 * i & 255 for i in range(4)] for word in (u, v))
        permuted = low[2] | high[0] << 8 | (255 if low[3] & 128 else 0) << 16 | high[3] << 24
        rotated = (u << by | u >> (32 - by) % 32) % 2**32
        expected = [quotient, x - quotient * y, seventh, u % 11, u // v, x >> by, u >> by, rotated]
        expected += [permuted, u * v >> 32, min(x, y), (u & ~0xFF0) | (v & 0xFF) << 4]
        expected.append((u & 0xFFFF) * high[0] + (u >> 16) * high[1] + by)
        assert [one % 2**32 for one in row] == [one % 2**32 for one in expected]
        expected = [x * y, u * v, x << by, (x + 2**15) % 2**16 - 2**15, y % 2**16, (x << 31) * (y << 31) >> 64]
        inserted = (2**40 - 1 << by) % 2**64
        expected.append(x * y & ~inserted | u * v << by & inserted)
        assert [one % 2**64 for one in long] == [one % 2**64 for one in expected]


WATCHED = """
extern "C" __global__ void reads(const char* from, int* to, int at) {
    if (threadIdx.x == 1) *to = *reinterpret_cast<const int*>(from + at);
}
extern "C" __global__ void neighbours(int* to, int barrier) {
    extern __shared__ int dynamic[];
    dynamic[threadIdx.x] = threadIdx.x;
    if (barrier) __syncthreads();
    to[threadIdx.x] = dynamic[threadIdx.x ^ 1];
}
extern "C" __global__ void overwrites(int* to, int barrier) {
    extern __shared__ int dynamic[];
    dynamic[threadIdx.x] = 0;
    __syncthreads();
    to[threadIdx.x] = dynamic[threadIdx.x ^ 1];
    if (barrier) __syncthreads();
    dynamic[threadIdx.x] = 1;
}
extern "C" __global__ void between_blocks(int* data, unsigned* flag, int release) {
    if (blockIdx.x == 0) {
        *data = 1;
        if (release) asm volatile("red.release.gpu.global.add.u32 [%0], %1;" ::"l"(flag), "r"(1) : "memory");
    } else {
        unsigned seen = !release;
        while (!seen) asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(flag) : "memory");
        data[1] = *data;
    }
}
extern "C" __global__ void __cluster_dims__(2, 1, 1) of_another_block(int* to, int write, int barriers) {
    extern __shared__ int dynamic[];
    if (threadIdx.x == 0) dynamic[0] = dynamic[1] = blockIdx.x;
    for (int i = 0; i < barriers; i++) {
        asm volatile("barrier.cluster.arrive.release; barrier.cluster.wait.acquire;" ::: "memory");
        if (i > 0 || blockIdx.x == 0) continue;
        int* other;
        asm volatile("mapa.u64 %0, %1, 0;" : "=l"(other) : "l"(dynamic));
        if (write) other[threadIdx.x] = 7;
        else to[threadIdx.x] = other[threadIdx.x];
    }
}
extern "C" __global__ void beyond_shared(int at) {
    extern __shared__ int dynamic[];
    dynamic[at] = 1;
}
"""


def test_memory_is_watched():
    module = compiled(WATCHED)
    data, out = np.arange(16, dtype=np.int8), np.zeros(64, np.int32)
    module.launch("reads", 1, 2, [data, out, np.int32(12)])
    assert out[0] == 0x0F0E0D0C
    with pytest.raises(
        cuda_emulator.OutOfBoundsError, match="thread 1: reads 4 bytes of global memory that it was not given"
    ):
        module.launch("reads", 1, 2, [data, out, np.int32(16)])
    with pytest.raises(cuda_emulator.EmulatorError, match="4 bytes at an address that is not a multiple of that"):
        module.launch("reads", 1, 2, [data, out, np.int32(2)])
    with pytest.raises(cuda_emulator.OutOfBoundsError, match="writes 4 bytes of shared memory that it was not given"):
        module.launch("beyond_shared", 1, 1, [np.int32(4)], shared_bytes=16)


def test_arrays_that_overlap_in_part_are_refused():
    """A race between an access to the one and an access to the other would not be seen."""
    data = np.zeros(8, np.int32)
    for other in (data[1:2], data[:4], data[6:]):
        for args in ([data, other], [other, data]):
            with pytest.raises(ValueError, match="arguments 0 and 1 overlap in part"):
                compiled(WATCHED).launch("reads", 1, 2, [*args, np.int32(0)])
    for args in ([data, data], [data[:4], data[4:]], [data[:0], data]):
        compiled(WATCHED).launch("reads", 1, 2, [*args, np.int32(0)])


@pytest.mark.slow
def test_other_barriers_than_that_of_the_block_are_refused():
    module = compiled('\nextern "C" __global__ void wait() { asm volatile("bar.sync 1;" ::: "memory"); }')
    with pytest.raises(cuda_emulator.EmulatorError, match="barrier 1"):
        module.launch("wait", 1, 32, [])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kernel", ["neighbours", "overwrites"])
def test_a_missing_barrier_is_a_race_in_any_order(kernel, seed):
    module = compiled(WATCHED)
    out = np.zeros(64, np.int32)
    module.launch(kernel, 1, 64, [out, np.int32(1)], shared_bytes=256, seed=seed)
    with pytest.raises(cuda_emulator.RaceError, match="shared memory of block 0"):
        module.launch(kernel, 1, 64, [out, np.int32(0)], shared_bytes=256, seed=seed)


@pytest.mark.parametrize("seed", range(3))
def test_blocks_meet_by_release_and_acquire(seed):
    module = compiled(WATCHED)
    data, flag = np.zeros(2, np.int32), np.zeros(1, np.uint32)
    module.launch("between_blocks", 2, 1, [data, flag, np.int32(1)], seed=seed)
    assert data[1] == 1
    with pytest.raises(cuda_emulator.RaceError, match="array 0"):
        module.launch("between_blocks", 2, 1, [data, flag, np.int32(0)], seed=seed)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("write", [0, 1])
def test_a_block_stays_until_others_are_done_with_its_shared_memory(write, seed):
    module = compiled(WATCHED)
    out = np.ones(2, np.int32)
    options = {"shared_bytes": 8, "cluster": 2, "seed": seed}
    module.launch("of_another_block", 2, 2, [out, np.int32(write), np.int32(2)], **options)
    assert out.tolist() == ([1, 1] if write else [0, 0])
    # It may have ended when the others come, or end while they are there.
    with pytest.raises(
        (cuda_emulator.RaceError, cuda_emulator.OutOfBoundsError), match=r"ends with|a block that has ended"
    ):
        module.launch("of_another_block", 2, 2, [out, np.int32(write), np.int32(1)], **options)


@pytest.mark.slow
def test_the_compiler_leaves_python_as_it_is():
    """An empty log is one byte, and Python has each bytes object of that length only once."""
    compiled('\nextern "C" __global__ void nothing() {}')
    assert all(list(bytes([byte])) == [byte] for byte in range(256))


def test_as_many_threads_as_memory_allows_are_watched():
    module = compiled(WATCHED)
    out = np.zeros(64, np.int32)
    with pytest.raises(cuda_emulator.EmulatorError, match="20000 threads are too many to be watched"):
        module.launch("neighbours", 20, 1000, [out, np.int32(1)], shared_bytes=4000)


def test_what_is_not_known_is_an_error():
    with pytest.raises(cuda_emulator.EmulatorError, match="ptx_popc"):
        compiled('\nextern "C" __global__ void count(int* x) { *x = __popc(*x); }')
