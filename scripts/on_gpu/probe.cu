// What the ways to exchange data between blocks cost: `turns` of one exchange each, and the cycles that they take.
//
// KIND selects the exchange. STORES: stores to global memory, as of outputs and tapes: none, before the others are told,
// or after. No wait is endless: after MOST_POLLS it is an error.

#define BARRIER 0
#define CLUSTER 1
#define ASYNC 2
#define PACKETS 3
#define COUNTER 4
#define READ 5
#define CLOCK 6
#define STEP 7

#define MOST_POLLS (1u << 22)
constexpr unsigned THREADS = 256;
#define VECTORS 4  // of 16 bytes, from each block to each block of a cluster
constexpr unsigned WRITTEN = 1 << 24;  // numbers of `written`: more than what is in flight at a time

__device__ __forceinline__ void next(unsigned& polls) {
    if (++polls > MOST_POLLS) __trap();
}

__device__ __forceinline__ void store(float* written, int turn) {
    const unsigned place = (turn * gridDim.x + blockIdx.x) * THREADS + threadIdx.x;
    written[place % WRITTEN] = static_cast<float>(turn);
}

#define REMOTE (KIND == ASYNC || SHARED)  // stores to the shared memory of the other blocks

#if KIND == CLUSTER || KIND == ASYNC
#define ATTRIBUTES __cluster_dims__(BLOCKS, 1, 1) __launch_bounds__(256, 1)

__device__ __forceinline__ unsigned shared_address(const void* pointer) {
    return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}

// The address of what lies at `own`, in the shared memory of block `rank` of the cluster.
__device__ __forceinline__ unsigned address_in(unsigned rank, const void* own) {
    unsigned address;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(shared_address(own)), "r"(rank));
    return address;
}

__device__ __forceinline__ void whole_cluster() {
    asm volatile("barrier.cluster.arrive.release;\n\tbarrier.cluster.wait.acquire;" ::: "memory");
}
#else
#define ATTRIBUTES __launch_bounds__(256, 1)
#endif

#if KIND == PACKETS
// 16 bytes as one scalar, which the memory model does not tear.
__device__ __forceinline__ void send(uint4* to, uint4 value) {
    asm volatile(
        "{.reg .b128 all; .reg .b64 one, two; mov.b64 one, {%1, %2}; mov.b64 two, {%3, %4}; mov.b128 all, {one, two}; "
        "st.relaxed.gpu.global.b128 [%0], all;}" ::"l"(to),
        "r"(value.x), "r"(value.y), "r"(value.z), "r"(value.w)
        : "memory");
}

__device__ __forceinline__ uint4 fetch(const uint4* from) {
    uint4 value;
    asm volatile(
        "{.reg .b128 all; .reg .b64 one, two; ld.relaxed.gpu.global.b128 all, [%4]; mov.b128 {one, two}, all; "
        "mov.b64 {%0, %1}, one; mov.b64 {%2, %3}, two;}"
        : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
        : "l"(from)
        : "memory");
    return value;
}
#endif

// memory: what the exchange needs, zero at first; result: the cycles of each block, then how much arrived wrong: torn
// packets, say; for CLOCK the nanoseconds.
extern "C" __global__ void ATTRIBUTES probe(uint4* memory, float* written, unsigned long long* result, int turns) {
#if REMOTE
    extern __shared__ uint4 dynamic[];  // [2][BLOCKS * VECTORS], then for ASYNC [2] barriers
    unsigned rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    const bool sends = threadIdx.x < BLOCKS * VECTORS;
    const unsigned peer = threadIdx.x % BLOCKS, place = rank * VECTORS + threadIdx.x / BLOCKS;
#endif
#if KIND == ASYNC
    unsigned long long* arrived = reinterpret_cast<unsigned long long*>(dynamic + 2 * BLOCKS * VECTORS);
    if (threadIdx.x == 0) {
        for (unsigned i = 0; i < 2; i++)
            asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(shared_address(&arrived[i])) : "memory");
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();
#endif
#if KIND == CLUSTER || KIND == ASYNC
    whole_cluster();  // no block is sent anything before it has begun
#endif
    unsigned long long wrong = 0;
    const long long begun = clock64();
#if KIND == CLOCK
    unsigned long long first, last;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(first));
#endif
    for (int turn = 0; turn < turns; turn++) {
#if REMOTE
        uint4* box = dynamic + (turn & 1) * BLOCKS * VECTORS;
#endif
#if STORES == 1
        store(written, turn);
#endif
#if KIND == BARRIER || KIND == CLOCK
        __syncthreads();
#elif KIND == CLUSTER
        __syncthreads();
#if SHARED
        if (sends) {
            uint4* to;
            asm volatile("mapa.u64 %0, %1, %2;" : "=l"(to) : "l"(box + place), "r"(peer));
            *to = make_uint4(turn, turn, turn, turn);
        }
#endif
#if RELEASE
        asm volatile("barrier.cluster.arrive.release;" ::: "memory");
#else
        asm volatile("barrier.cluster.arrive.relaxed;" ::: "memory");
#endif
#if STORES == 2
        store(written, turn);
#endif
        asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
#elif KIND == ASYNC
        __syncthreads();
        const unsigned barrier = shared_address(&arrived[turn & 1]);
        if (threadIdx.x == 0)
            asm volatile("mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 _, [%0], %1;" ::"r"(barrier),
                         "r"(BLOCKS * VECTORS * 16)
                         : "memory");
        if (sends) {
            const unsigned to = address_in(peer, box + place), bar = address_in(peer, &arrived[turn & 1]);
            asm volatile(
                "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1, %1, %1, %1}, [%2];" ::"r"(to),
                "r"(turn), "r"(bar)
                : "memory");
        }
#if STORES == 2
        store(written, turn);
#endif
        for (unsigned done = 0, polls = 0; !done; next(polls))
            asm volatile(
                "{.reg .pred p; mbarrier.try_wait.parity.relaxed.cluster.shared::cta.b64 p, [%1], %2; "
                "selp.u32 %0, 1, 0, p; fence.acquire.sync_restrict::shared::cluster.cluster;}"  // as rgru's kernels
                : "=r"(done)
                : "r"(barrier), "r"(turn >> 1 & 1)
                : "memory");
#elif KIND == PACKETS
        constexpr unsigned ALL = BLOCKS * EACH, SHARE = (ALL + THREADS - 1) / THREADS, GROUP = SHARE < 8 ? SHARE : 8;
        uint4* packets = memory + (turn & 1) * ALL;
        const unsigned phase = turn + 1;
        __syncthreads();
        for (unsigned i = threadIdx.x; i < EACH; i += THREADS)
            send(packets + blockIdx.x * EACH + i, make_uint4(phase, ~phase, phase, phase));
#if STORES == 2
        store(written, turn);
#endif
        for (unsigned start = threadIdx.x; start < ALL; start += GROUP * THREADS) {
            uint4 got[GROUP];
#pragma unroll
            for (unsigned j = 0; j < GROUP; j++)
                if (start + j * THREADS < ALL) got[j] = fetch(packets + start + j * THREADS);
            unsigned polls = 0;
#if TOGETHER  // all that are missing at once
            for (bool missing = true; missing; next(polls)) {
                missing = false;
#pragma unroll
                for (unsigned j = 0; j < GROUP; j++) {
                    if (start + j * THREADS >= ALL || got[j].w == phase) continue;
                    got[j] = fetch(packets + start + j * THREADS);
                    missing = true;
                }
            }
#else
#pragma unroll
            for (unsigned j = 0; j < GROUP; j++)
                for (; start + j * THREADS < ALL && got[j].w != phase; next(polls))
                    got[j] = fetch(packets + start + j * THREADS);
#endif
#pragma unroll
            for (unsigned j = 0; j < GROUP; j++)
                if (start + j * THREADS < ALL) wrong += got[j].x != phase || got[j].y != ~phase || got[j].z != phase;
        }
        __syncthreads();
#elif KIND == COUNTER
        __syncthreads();
        unsigned* counter = reinterpret_cast<unsigned*>(memory);
        if (threadIdx.x == 0) asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(counter) : "memory");
#if STORES == 2
        store(written, turn);
#endif
        if (threadIdx.x == 0) {
            unsigned arrivals = 0, polls = 0;
            const unsigned awaited = (turn + 1) * gridDim.x;
            for (; static_cast<int>(arrivals - awaited) < 0; next(polls))
                asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(arrivals) : "l"(counter) : "memory");
        }
        __syncthreads();
#elif KIND == READ
        // 64 KB a turn of the 2 MB that all blocks read, past the first-level cache.
        const uint4* from = memory + (turn & 31) * 4096 + threadIdx.x;
        uint4 got[16];
#pragma unroll
        for (unsigned j = 0; j < 16; j++)
            asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];"
                         : "=r"(got[j].x), "=r"(got[j].y), "=r"(got[j].z), "=r"(got[j].w)
                         : "l"(from + j * THREADS)
                         : "memory");
#pragma unroll
        for (unsigned j = 0; j < 16; j++) wrong += got[j].x | got[j].y | got[j].z | got[j].w;
#elif KIND == STEP
        const unsigned place = blockIdx.x * THREADS + threadIdx.x;
        written[place] = 0.5f * written[place] + 1.0f;
#endif
#if REMOTE
        if (sends) wrong += box[threadIdx.x].x != static_cast<unsigned>(turn);
#endif
    }
    const long long cycles = clock64() - begun;
#if KIND == CLUSTER || KIND == ASYNC
    whole_cluster();  // no block ends while others send to it
#endif
#if KIND == CLOCK
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(last));
    wrong = last - first;
#endif
    if (threadIdx.x == 0) result[blockIdx.x] = cycles;
    if (wrong) result[gridDim.x] = wrong;  // of one of the threads
}
