"""Barriers in shared memory and asynchronous stores: what they order, and that each misuse is noticed."""

import contextlib
import functools

import numpy as np
import pytest

import cuda_emulator
from cuda_emulator import nvrtc

if cuda_emulator.missing():
    pytest.skip(cuda_emulator.missing(), allow_module_level=True)

PTX = pytest.param("ptx", marks=pytest.mark.skipif(bool(nvrtc.missing()), reason=str(nvrtc.missing())))

HARDWARE = """
#ifdef __CUDACC__
using Barrier = unsigned long long;
__device__ unsigned char* dynamic_shared() {
    extern __shared__ uint4 dynamic[];
    return reinterpret_cast<unsigned char*>(dynamic);
}
__device__ unsigned window(const void* shared) { return static_cast<unsigned>(__cvta_generic_to_shared(shared)); }
__device__ void barrier_init(Barrier* barrier) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1; fence.mbarrier_init.release.cluster;" ::"r"(window(barrier))
                 : "memory");
}
__device__ void barrier_expect(Barrier* barrier, unsigned bytes) {
    asm volatile("mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 _, [%0], %1;" ::"r"(window(barrier)), "r"(bytes)
                 : "memory");
}
__device__ bool barrier_passed(Barrier* barrier, unsigned parity) {
    unsigned passed;
    asm volatile("{.reg .pred passed; mbarrier.try_wait.parity.relaxed.cluster.shared::cta.b64 passed, [%1], %2; "
                 "selp.u32 %0, 1, 0, passed;}" : "=r"(passed) : "r"(window(barrier)), "r"(parity) : "memory");
#ifndef NO_FENCE
    asm volatile("fence.acquire.sync_restrict::shared::cluster.cluster;" ::: "memory");
#endif
    return passed;
}
__device__ void store_async(void* own, Barrier* barrier, unsigned rank, uint4 v) {
    asm volatile("{.reg .b32 to, counter; mapa.shared::cluster.u32 to, %0, %2; "
                 "mapa.shared::cluster.u32 counter, %1, %2; "
                 "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [to], {%3, %4, %5, %6}, [counter];}"
                 ::"r"(window(own)), "r"(window(barrier)), "r"(rank), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
                 : "memory");
}
__device__ void cluster_arrive() { asm volatile("barrier.cluster.arrive.release;" ::: "memory"); }
__device__ void cluster_wait() { asm volatile("barrier.cluster.wait.acquire;" ::: "memory"); }
__device__ unsigned cluster_rank() {
    unsigned rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}
#endif
"""

BLOCKS, THREADS = 4, 16
EXCHANGE = """
enum Fault { NONE, NO_WAIT, ONE_BUFFER, WRONG_PARITY, TOO_FEW, TOO_MANY, NO_BEGIN, NO_BARRIER_OF_BLOCK, ENDS_EARLY,
             READS_LATE, ONE_BARRIER, ALL_ARRIVE, STAGED_ONCE };
constexpr int BLOCKS = 4, THREADS = 16, VECTORS = THREADS / 4;

// x [blocks, THREADS]: in every step the sum over the cluster's blocks, of the next thread, and the rank. late: as x
extern "C" __global__ void __cluster_dims__(4, 1, 1) exchange(unsigned* x, unsigned* late, int steps, int fault) {
    Barrier* barriers = reinterpret_cast<Barrier*>(dynamic_shared());              // [2]
    unsigned* sent = reinterpret_cast<unsigned*>(dynamic_shared() + 16);           // [2][THREADS]
    unsigned* received = sent + 2 * THREADS;                                       // [2][BLOCKS][THREADS]
    const unsigned rank = cluster_rank(), thread = threadIdx.x, own = blockIdx.x * THREADS + thread;
    if (thread < 2) barrier_init(barriers + thread);
    if (fault == NO_BEGIN) __syncthreads();
    else cluster_arrive(), cluster_wait();
    unsigned value = x[own];
    for (int step = 0; step < steps; step++) {
        if (fault == ENDS_EARLY && rank == 1 && step == steps - 1) return;
        const int turn = step & 1;
        Barrier* barrier = barriers + (fault == ONE_BARRIER ? 0 : turn);
        unsigned* buffer = received + (fault == ONE_BUFFER ? 0 : turn) * BLOCKS * THREADS;
        unsigned* staged = sent + (fault == STAGED_ONCE ? 0 : turn) * THREADS;
        staged[thread] = value;
        if (fault != NO_BARRIER_OF_BLOCK) __syncthreads();
        if (fault == READS_LATE && step > 0) late[own] = received[(turn ^ 1) * BLOCKS * THREADS + thread];
        if (thread == 0 || fault == ALL_ARRIVE)
            barrier_expect(barrier, BLOCKS * THREADS * 4 + (fault == TOO_MANY) * 16 - (fault == TOO_FEW) * 16);
        for (unsigned i = thread; i < BLOCKS * VECTORS; i += THREADS) {
            const unsigned part = i / BLOCKS * 4;
            const uint4 vector = *reinterpret_cast<const uint4*>(staged + part);
            store_async(buffer + rank * THREADS + part, barrier, i % BLOCKS, vector);
        }
        const unsigned parity = (step >> 1 & 1) ^ (fault == WRONG_PARITY);
        if (fault != NO_WAIT)
            while (!barrier_passed(barrier, parity)) {}
        value = rank;
        for (int block = 0; block < BLOCKS; block++) value += buffer[block * THREADS + (thread + 1) % THREADS];
    }
    x[own] = value;
}
"""
RACE, DEADLOCK, MISUSE = cuda_emulator.RaceError, cuda_emulator.DeadlockError, cuda_emulator.EmulatorError
FAULTS = {
    "NO_WAIT": RACE,
    "ONE_BUFFER": RACE,
    "WRONG_PARITY": RACE,
    "TOO_FEW": RACE,
    "TOO_MANY": DEADLOCK,
    "NO_BEGIN": MISUSE,  # or a race, which is one, too
    "NO_BARRIER_OF_BLOCK": RACE,
    "ENDS_EARLY": (RACE, cuda_emulator.OutOfBoundsError),
    "READS_LATE": RACE,
    "ONE_BARRIER": RACE,
    "ALL_ARRIVE": MISUSE,
    "STAGED_ONCE": RACE,
}


@functools.cache
def compiled(way, source, **macros):
    text = HARDWARE + source
    return cuda_emulator.compile(text) if way == "source" else cuda_emulator.compile_ptx(nvrtc.ptx(text, macros, 90))


def exchanged(way, fault="NONE", seed=0, steps=9):
    """Run the exchange in two clusters; return whether the sums are right."""
    start = np.arange(2 * BLOCKS * THREADS, dtype=np.uint32).reshape(2, BLOCKS, THREADS) ** 2
    x, expected = start.copy(), start
    launch = {"shared_bytes": 16 + 2 * (1 + BLOCKS) * THREADS * 4, "cluster": BLOCKS, "seed": seed}
    args = [x, np.zeros_like(start), np.int32(steps), np.int32(["NONE", *FAULTS].index(fault))]
    compiled(way, EXCHANGE).launch("exchange", 2 * BLOCKS, THREADS, args, **launch)
    for _ in range(steps):
        sums = np.roll(expected.sum(axis=1, keepdims=True, dtype=np.uint32), -1, axis=2)
        expected = sums + np.arange(BLOCKS, dtype=np.uint32)[:, None]
    return np.array_equal(x, expected)


@pytest.mark.parametrize("way", ["source", PTX])
def test_an_exchange_by_asynchronous_stores(way):
    assert all(exchanged(way, seed=seed, steps=1 + seed) for seed in range(20))


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("way", [PTX])
def test_a_fault_of_an_exchange_is_an_error_in_any_order(way, fault):
    for seed in range(10):
        with pytest.raises(FAULTS[fault]):
            exchanged(way, fault, seed)


@pytest.mark.parametrize("way", [PTX])
def test_a_wait_without_a_fence_orders_nothing(way):
    launch = {"shared_bytes": 16 + 2 * (1 + BLOCKS) * THREADS * 4, "cluster": BLOCKS}
    x = np.zeros(2 * BLOCKS * THREADS, np.uint32)
    with pytest.raises(RACE):
        compiled(way, EXCHANGE, NO_FENCE=1).launch(
            *("exchange", 2 * BLOCKS, THREADS, [x, x.copy(), np.int32(3), np.int32(0)]), **launch
        )


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in {"READS_LATE", "STAGED_ONCE"}])
def test_a_fault_of_an_exchange_shows_without_ptx(fault):
    """Stores land late enough that other threads come first; two faults need more luck."""
    for seed in range(10):
        with contextlib.suppress(cuda_emulator.EmulatorError):
            assert not exchanged("source", fault, seed)


ONE_STORE = """
enum Wait { UNTIL_PASSED, ONE_POLL, OF_CLUSTER };

// Each block of a cluster sends four numbers to the other. out [2]: these, and what it has written before to notes [2]
extern "C" __global__ void one_store(
    uint4* out, unsigned* notes, int inits, int late_inits, int expected, int announced, int at, int wait) {
    Barrier* barrier = reinterpret_cast<Barrier*>(dynamic_shared());
#ifdef __CUDACC__
    asm volatile("" : "+l"(barrier));  // so that the compiler does not know where it lies
#endif
    for (int i = 0; i < inits; i++) barrier_init(barrier);
    cluster_arrive();
    cluster_wait();
    for (int i = 0; i < late_inits; i++) barrier_init(barrier);
    barrier_passed(barrier, 1);  // it has; others may run meanwhile
    uint4* received = reinterpret_cast<uint4*>(dynamic_shared() + at);
    if (expected) barrier_expect(barrier, announced);
    const unsigned rank = cluster_rank();
    notes[rank] = 7 + rank;
    store_async(received, barrier, rank ^ 1, make_uint4(rank, 1, 2, 3));
    if (wait == OF_CLUSTER) cluster_arrive(), cluster_wait();
    else while (!barrier_passed(barrier, 0) && wait == UNTIL_PASSED) {}
    const unsigned note = notes[rank ^ 1];
    out[rank] = *received;
    out[rank].w = note;
}
"""
WAITS = ["UNTIL_PASSED", "ONE_POLL", "OF_CLUSTER"]


def stored(way, *, cluster=2, wait="UNTIL_PASSED", seed=0, **changed):
    options = {"inits": 1, "late_inits": 0, "expected": 1, "announced": 16, "at": 16, **changed}
    out, notes = np.zeros((2, 4), np.uint32), np.zeros(2, np.uint32)
    args = [out, notes, *map(np.int32, [*options.values(), WAITS.index(wait)])]
    compiled(way, ONE_STORE).launch("one_store", 2, 1, args, shared_bytes=32, cluster=cluster, seed=seed)
    return out.tolist()


@pytest.mark.parametrize("way", ["source", PTX])
def test_what_a_barrier_does_not_allow(way):
    assert stored(way) == [[1, 1, 2, 8], [0, 1, 2, 7]]
    with pytest.raises(MISUSE, match="a barrier that is not initialised"):
        stored(way, inits=0)
    with pytest.raises(MISUSE, match="barrier_init twice"):
        stored(way, inits=2)
    with pytest.raises(MISUSE, match="a barrier cannot count 1048576 bytes"):
        stored(way, announced=2**20)
    with pytest.raises(DEADLOCK, match="1 in barrier_passed"):
        stored(way, announced=2**20 - 1)
    with pytest.raises(DEADLOCK, match="1 in barrier_passed"):
        stored(way, expected=0)
    with pytest.raises(cuda_emulator.OutOfBoundsError, match=r"beyond|that it was not given"):
        stored(way, at=32)
    with pytest.raises(MISUSE, match=r"not of 16 bytes|16 bytes at an address that is not a multiple of that"):
        stored(way, at=8)
    with pytest.raises(MISUSE, match="to rank 1 of 1"):
        stored(way, cluster=1)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("way", [PTX])
def test_only_a_wait_that_has_passed_orders_what_was_sent(way, seed):
    with pytest.raises(RACE, match="which an asynchronous store has written"):
        stored(way, wait="OF_CLUSTER", seed=seed)
    with pytest.raises(RACE, match=r"byte . of array 1"):
        stored(way, wait="ONE_POLL", expected=0, seed=seed)
    with pytest.raises(MISUSE, match=r"not initialised|nothing orders that after its initialisation"):
        stored(way, inits=0, late_inits=1, seed=seed)


def test_a_block_may_not_end_before_stores_to_it_land():
    told = set()
    for seed in range(20):
        try:
            stored("source", wait="ONE_POLL", seed=seed)
        except cuda_emulator.OutOfBoundsError as error:
            told.add(str(error))
    assert told & {f"one_store: block {i}: store_async to block {1 - i}, which ended before it landed" for i in (0, 1)}
