// What the ways to exchange data between blocks cost: `turns` of one exchange each, and the cycles that they take.
//
// KIND selects the exchange. STORES: stores to global memory, as of outputs and tapes: none, before the others are told,
// or after. No wait is endless: after MOST_POLLS it is an error. The instructions are those of rgru's kernels: their
// hardware.cuh comes before this.

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

__device__ __forceinline__ void whole_cluster() {
    cluster_arrive();
    cluster_wait();
}
#else
#define ATTRIBUTES __launch_bounds__(256, 1)
#endif

// memory: what the exchange needs, zero at first; result: the cycles of each block, then how much arrived wrong: torn
// packets, say; for CLOCK the nanoseconds.
extern "C" __global__ void ATTRIBUTES probe(uint4* memory, float* written, unsigned long long* result, int turns) {
#if REMOTE
    uint4* boxes = reinterpret_cast<uint4*>(dynamic_shared());  // [2][BLOCKS * VECTORS], then for ASYNC [2] barriers
    const bool sends = threadIdx.x < BLOCKS * VECTORS;
    const unsigned peer = threadIdx.x % BLOCKS, place = cluster_rank() * VECTORS + threadIdx.x / BLOCKS;
#endif
#if KIND == ASYNC
    Barrier* arrived = reinterpret_cast<Barrier*>(boxes + 2 * BLOCKS * VECTORS);
    if (threadIdx.x < 2) barrier_init(arrived + threadIdx.x);
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
        uint4* box = boxes + (turn & 1) * BLOCKS * VECTORS;
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
        cluster_arrive();
#else
        asm volatile("barrier.cluster.arrive.relaxed;" ::: "memory");
#endif
#if STORES == 2
        store(written, turn);
#endif
        cluster_wait();
#elif KIND == ASYNC
        __syncthreads();
        if (threadIdx.x == 0) barrier_expect(&arrived[turn & 1], BLOCKS * VECTORS * 16);
        if (sends) store_async(box + place, &arrived[turn & 1], peer, make_uint4(turn, turn, turn, turn));
#if STORES == 2
        store(written, turn);
#endif
        for (unsigned polls = 0; !barrier_passed(&arrived[turn & 1], turn >> 1 & 1);) next(polls);
#elif KIND == PACKETS
        constexpr unsigned ALL = BLOCKS * EACH, SHARE = (ALL + THREADS - 1) / THREADS, GROUP = SHARE < 8 ? SHARE : 8;
        uint4* packets = memory + (turn & 1) * ALL;
        const unsigned phase = turn + 1;
        __syncthreads();
        for (unsigned i = threadIdx.x; i < EACH; i += THREADS)
            store_packet(packets + blockIdx.x * EACH + i, make_uint4(phase, ~phase, phase, phase));
#if STORES == 2
        store(written, turn);
#endif
        for (unsigned start = threadIdx.x; start < ALL; start += GROUP * THREADS) {
            uint4 got[GROUP];
            unsigned polls = 0;
#if TOGETHER  // all that are missing at once
            for (unsigned missing = ~0u; missing; next(polls)) {
#pragma unroll
                for (unsigned j = 0; j < GROUP; j++)
                    if (start + j * THREADS < ALL && (missing >> j & 1)) got[j] = load_packet(packets + start + j * THREADS);
                missing = 0;
#pragma unroll
                for (unsigned j = 0; j < GROUP; j++)
                    if (start + j * THREADS < ALL && got[j].w != phase) missing |= 1u << j;
            }
#else
#pragma unroll
            for (unsigned j = 0; j < GROUP; j++)
                if (start + j * THREADS < ALL) got[j] = load_packet(packets + start + j * THREADS);
#pragma unroll
            for (unsigned j = 0; j < GROUP; j++)
                for (; start + j * THREADS < ALL && got[j].w != phase; next(polls))
                    got[j] = load_packet(packets + start + j * THREADS);
#endif
#pragma unroll
            for (unsigned j = 0; j < GROUP; j++)
                if (start + j * THREADS < ALL) wrong += got[j].x != phase || got[j].y != ~phase || got[j].z != phase;
        }
        __syncthreads();
#elif KIND == COUNTER
        __syncthreads();
        unsigned* counter = reinterpret_cast<unsigned*>(memory);
        if (threadIdx.x == 0) add_release(counter, 1);
#if STORES == 2
        store(written, turn);
#endif
        if (threadIdx.x == 0) {
            const unsigned awaited = (turn + 1) * gridDim.x;
            for (unsigned polls = 0; static_cast<int>(load_acquire(counter) - awaited) < 0;) next(polls);
        }
        __syncthreads();
#elif KIND == READ
        // 64 KB a turn of the 2 MB that all blocks read, past the first-level cache.
        const uint4* from = memory + (turn & 31) * 4096 + threadIdx.x;
        uint4 got[16];
#pragma unroll
        for (unsigned j = 0; j < 16; j++) got[j] = load_shared_by_all(from + j * THREADS);
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
