"""Relaxed loads of packets: they may return the last value but one, where the memory model allows that.

Each kernel is a litmus test: what a weaker order than sequential consistency allows has to occur for some seeds, and
what coherence, barriers or a release and an acquire forbid for none.
"""

import functools

import numpy as np
import pytest

import cuda_emulator
from cuda_emulator import nvrtc

if cuda_emulator.missing() or nvrtc.missing():
    pytest.skip(cuda_emulator.missing() or nvrtc.missing(), allow_module_level=True)

LITMUS = """
#ifdef __CUDACC__
__device__ uint4 load_packet(const uint4* from) {
    uint4 v;
    asm volatile("{.reg .b128 packet; .reg .b64 low, high; ld.relaxed.gpu.global.b128 packet, [%4]; "
                 "mov.b128 {low, high}, packet; mov.b64 {%0, %1}, low; mov.b64 {%2, %3}, high;}"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(from));
    return v;
}
__device__ void store_packet(uint4* to, uint4 v) {
    asm volatile("{.reg .b128 packet; .reg .b64 low, high; mov.b64 low, {%1, %2}; mov.b64 high, {%3, %4}; "
                 "mov.b128 packet, {low, high}; st.relaxed.gpu.global.b128 [%0], packet;}"
                 ::"l"(to), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w) : "memory");
}
__device__ unsigned load_acquire(const unsigned* from) {
    unsigned value;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(from) : "memory");
    return value;
}
__device__ void add_release(unsigned* to, unsigned value) {
    asm volatile("red.release.gpu.global.add.u32 [%0], %1;" ::"l"(to), "r"(value) : "memory");
}
#endif
__device__ unsigned load(const uint4* from) { return load_packet(from).x; }
__device__ void store(uint4* to, unsigned value) { store_packet(to, make_uint4(value, 0, 0, value)); }

// out [8 steps]: what block 1 receives in packet 0, having waited for packet 1, and also for packet 0 if `both`
extern "C" __global__ void message(uint4* packets, unsigned* out, int both) {
    for (unsigned step = 0; step < 8; step++) {
        uint4* data = packets + step % 2 * 2;
        if (blockIdx.x == 0) {
            store(data, step + 1), store(data + 1, step + 1);
            while (load(packets + 4) != step + 1) {}
        } else {
            while (load(data + 1) != step + 1) {}
            while (both && load(data) != step + 1) {}
            out[step] = load(data);
            store(packets + 4, step + 1);
        }
    }
}
// out [2]: what each block sees of the other's store, after its own
extern "C" __global__ void store_buffer(uint4* packets, unsigned* out) {
    store(packets + blockIdx.x, 1);
    out[blockIdx.x] = load(packets + !blockIdx.x);
}
// out [blocks, loads]: block 0 stores 1, 2, 3, ..., and each thread sees these in their order
extern "C" __global__ void coherence(uint4* packets, unsigned* out, int loads) {
    for (int i = 0; i < loads; i++) {
        if (blockIdx.x == 0) store(packets, i + 1);
        out[blockIdx.x * loads + i] = load(packets);
    }
}
// out [threads of block 1]: what is stored before a release is seen after an acquire, by a whole block if it then waits
extern "C" __global__ void release(uint4* packets, unsigned* out) {
    unsigned* flag = reinterpret_cast<unsigned*>(packets + 1);
    if (blockIdx.x == 0) {
        if (threadIdx.x > 0) return;
        store(packets, 1);
        add_release(flag, 1);
        return;
    }
    while (threadIdx.x == 0 && load_acquire(flag) == 0) {}
    __syncthreads();
    out[threadIdx.x] = load(packets);
}
// out [threads]: what one thread has seen, others see behind a barrier
extern "C" __global__ void seen(uint4* packets, unsigned* out) {
    if (blockIdx.x == 0) {
        if (threadIdx.x == 0) store(packets, 1);
        return;
    }
    while (threadIdx.x == 0 && load(packets) == 0) {}
    __syncthreads();
    out[threadIdx.x] = load(packets);
}
"""


@functools.cache
def litmus(way):
    return cuda_emulator.compile(LITMUS) if way == "source" else cuda_emulator.compile_ptx(nvrtc.ptx(LITMUS, {}, 90))


def outcomes(name, size, *args, block=1, way="ptx"):
    """Return what two blocks write, for each of some seeds."""
    found = []
    for seed in range(60):
        packets, out = np.zeros((5, 4), np.uint32), np.zeros(size, np.uint32)
        litmus(way).launch(name, 2, block, [packets, out, *map(np.int32, args)], seed=seed)
        found.append(out.tolist())
    return found


def test_a_packet_says_nothing_about_another_one():
    """A kernel that relies on it is right in any order of the threads where memory is sequentially consistent."""
    sent = range(1, 9)
    assert outcomes("message", 8, 0, way="source") == [list(sent)] * 60
    one_checked = zip(*outcomes("message", 8, 0), strict=True)
    assert [set(received) for received in one_checked] == [{step, max(step - 2, 0)} for step in sent]
    assert outcomes("message", 8, 1) == [list(sent)] * 60


def test_a_load_may_come_before_an_earlier_store_of_its_thread():
    assert {tuple(out) for out in outcomes("store_buffer", 2)} == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_values_come_in_their_order():
    for out in outcomes("coherence", 40, 20):
        writer, reader = out[:20], out[20:]
        assert writer == list(range(1, 21))
        assert reader == sorted(reader)


def test_release_and_acquire_order_packets():
    assert outcomes("release", 8, block=8) == [[1] * 8] * 60


def test_what_comes_after_a_load_loads_no_older_value():
    assert outcomes("seen", 8, block=8) == [[1] * 8] * 60
