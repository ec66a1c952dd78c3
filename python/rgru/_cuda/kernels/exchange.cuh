// -- exchange: how the blocks of a team send each other what products read --------------------------------------------

#ifdef PERSISTENT

// The blocks that compute the same sequences, and this block's place among them.
struct Team {
    int index, rank, teams;

    __device__ Team() {
        index = blockIdx.x / BLOCKS;
        if constexpr (EXCHANGE_KIND == ExchangeKind::CLUSTER) rank = cluster_rank();
        else rank = blockIdx.x % BLOCKS;
        teams = gridDim.x / BLOCKS;
    }
};

// Polls of one wait. With MOST_CYCLES, which the first run on a chip defines, a wait that never ends is an error
// instead of a hang. It counts cycles, since a poll of a barrier in shared memory may itself suspend the thread.
struct Polls {
#ifdef MOST_CYCLES
    const long long begun = clock();
    __device__ __forceinline__ void next() const {
        if (clock() - begun > MOST_CYCLES) __trap();
    }
#else
    __device__ __forceinline__ void next() const {}
#endif
};

// Packets of 16 bytes carry some words of what a block publishes, and the phase in which it does: a thread that sees
// the phase has the words too. No barrier is needed, and no fence (the idea is that of the LL protocol in NVIDIA's
// NCCL).
constexpr unsigned ROW_WORDS = UNITS * sizeof(Operand) / 4;      // of the block's units of one sequence
constexpr unsigned PACKET_WORDS = sizeof(Operand) == 8 ? 2 : 3;  // whole operands
constexpr unsigned PACKETS_ROW = (ROW_WORDS + PACKET_WORDS - 1) / PACKET_WORDS;
constexpr unsigned PACKETS_BLOCK = BATCH * PACKETS_ROW;

// A phase is one step. Everything that is published in a phase has been read before the phase after the next: two
// buffers are enough.
struct Exchange {
    Operand* inputs;     // in shared memory: [INPUTS][BATCH][PITCH]
    Operand* staged;     // in shared memory: [CHANNELS][BATCH][UNITS]
    Barrier* barriers;   // in shared memory, CLUSTER: [BARRIERS], two for each arrival of a step
    Operand* published;  // in global memory, of this team: [CHANNELS][2][BATCH][WIDTH], or
    uint4* packets;      // [CHANNELS][2][BLOCKS][PACKETS_BLOCK]
    unsigned* arrivals;  // in global memory, of this team: [1]
    unsigned awaited;
    int rank;

    __device__ __forceinline__ Operand* input(int channel, int phase) const {
        return inputs + (channel * 2 + (phase & 1)) * INPUT;
    }
    __device__ __forceinline__ uint4* packets_of(int channel, int phase) const {
        return packets + (channel * 2 + (phase & 1)) * BLOCKS * PACKETS_BLOCK;
    }
    __device__ __forceinline__ Operand* global(int channel, int phase) const {
        return published + static_cast<long long>(channel * 2 + (phase & 1)) * BATCH * WIDTH;
    }

    __device__ __forceinline__ void begin() {
        if constexpr (EXCHANGE_KIND == ExchangeKind::CLUSTER) {
            if (static_cast<int>(threadIdx.x) < BARRIERS) barrier_init(barriers + threadIdx.x);
            cluster_arrive();  // no block writes to one that has not begun
            cluster_wait();
        }
    }

    __device__ __forceinline__ void publish(int channel, int phase, int unit, int batch, Operand value) {
        if constexpr (EXCHANGE_KIND == ExchangeKind::BLOCK) {
            input(channel, phase)[batch * PITCH + unit] = value;
        } else if constexpr (IS_STAGED) {
            staged[(channel * BATCH + batch) * UNITS + unit] = value;
        } else {
            global(channel, phase)[batch * WIDTH + rank * UNITS + unit] = value;
        }
    }

    // To be called by all threads after `publish` of channels FIRST to LAST.
    template <int FIRST, int LAST>
    __device__ __forceinline__ void arrive(int phase) {
        if constexpr (EXCHANGE_KIND == ExchangeKind::CLUSTER) {
            __syncthreads();
            constexpr unsigned ROW = UNITS / VECTOR;
            constexpr unsigned VECTORS = (LAST - FIRST + 1) * BATCH * ROW;
            if (threadIdx.x == 0) barrier_expect(barrier<FIRST>(phase), VECTORS * BLOCKS * sizeof(uint4));
#pragma unroll 1  // most threads have one or none
            for (unsigned i = threadIdx.x; i < VECTORS * BLOCKS; i += THREADS) {
                const unsigned peer = i % BLOCKS, part = i / BLOCKS % ROW, batch = i / BLOCKS / ROW % BATCH;
                const unsigned channel = FIRST + i / BLOCKS / ROW / BATCH;
                Operand* own = input(channel, phase) + batch * PITCH + rank * UNITS + part * VECTOR;
                const Operand* from = staged + (channel * BATCH + batch) * UNITS + part * VECTOR;
                store_async(own, barrier<FIRST>(phase), peer, *reinterpret_cast<const uint4*>(from));
            }
        } else if constexpr (EXCHANGE_KIND == ExchangeKind::GRID) {
            __syncthreads();
            if (threadIdx.x == 0) add_release(arrivals, 1);
            awaited += BLOCKS;
        } else if constexpr (EXCHANGE_KIND == ExchangeKind::PACKETS) {
            __syncthreads();
#pragma unroll 1  // likewise
            for (unsigned i = threadIdx.x; i < (LAST - FIRST + 1) * PACKETS_BLOCK; i += THREADS) {
                const unsigned row = i / PACKETS_ROW, part = i % PACKETS_ROW;
                const unsigned channel = FIRST + row / BATCH, batch = row % BATCH;
                const unsigned* words_of_block = reinterpret_cast<const unsigned*>(staged);
                const unsigned* from = words_of_block + (channel * BATCH + batch) * ROW_WORDS + part * PACKET_WORDS;
                unsigned words[3] = {0, 0, 0};
#pragma unroll
                for (unsigned j = 0; j < PACKET_WORDS; j++) {
                    if (in_row(part, j)) words[j] = from[j];
                }
                store_packet(
                    packets_of(channel, phase) + rank * PACKETS_BLOCK + batch * PACKETS_ROW + part,
                    make_uint4(words[0], words[1], words[2], phase + 1));  // memory holds 0 before the first phase
            }
        }
    }

    // Until all blocks have arrived with channels FIRST to LAST. If there is room for all of them they are fetched.
    template <int FIRST, int LAST>
    __device__ __forceinline__ void wait(int phase) const {
        if constexpr (EXCHANGE_KIND == ExchangeKind::BLOCK) {
            __syncthreads();
        } else if constexpr (EXCHANGE_KIND == ExchangeKind::CLUSTER) {
            Polls polls;
            while (!barrier_passed(barrier<FIRST>(phase), phase / 2 % 2)) polls.next();
        } else if constexpr (EXCHANGE_KIND == ExchangeKind::GRID) {
            if (threadIdx.x == 0) {
                Polls polls;
                while (static_cast<int>(load_acquire(arrivals) - awaited) < 0) polls.next();
            }
            __syncthreads();
        }
        if constexpr (TOGETHER) fetch<FIRST, LAST>(phase);
    }

    // What has been published, as products read it.
    template <int CHANNEL>
    __device__ __forceinline__ const Operand* read(int phase) const {
        if constexpr (!THROUGH_MEMORY) return input(CHANNEL, phase);
        if constexpr (!TOGETHER) fetch<CHANNEL, CHANNEL>(phase);
        return fetched(CHANNEL);
    }

    // To be called before the next `read`, if products may still read what the last one returned.
    __device__ __forceinline__ void release() const {
        if constexpr (THROUGH_MEMORY && !TOGETHER) __syncthreads();
    }

    // From what products read of a channel to that of the next one; 0 if there is room for one at a time.
    static constexpr int DISTANCE = !THROUGH_MEMORY ? 2 * INPUT : INPUTS == CHANNELS ? INPUT : 0;

private:
    // Whether all channels are fetched from memory in one go, so that a thread waits once for the slowest.
    static constexpr bool TOGETHER = THROUGH_MEMORY && DISTANCE > 0;

    // Of the arrival that begins with channel FIRST, in this phase.
    template <int FIRST>
    __device__ __forceinline__ Barrier* barrier(int phase) const {
        return barriers + (FIRST > 0 ? 2 : 0) + phase % 2;
    }

    __device__ __forceinline__ Operand* fetched(int channel) const { return inputs + channel * DISTANCE; }

    // Loads that a thread has in flight at the same time, out of `count`.
    __device__ static constexpr unsigned at_once(unsigned count, unsigned most) { return count < most ? count : most; }

    // Whether a word of a packet is still one of its row.
    __device__ __forceinline__ static bool in_row(unsigned part, unsigned word) {
        return ROW_WORDS % PACKET_WORDS == 0 || part * PACKET_WORDS + word < ROW_WORDS;
    }

    // From memory to shared memory.
    template <int FIRST, int LAST>
    __device__ __forceinline__ void fetch(int phase) const {
        if constexpr (EXCHANGE_KIND == ExchangeKind::GRID) fetch_vectors<FIRST, LAST>(phase);
        else fetch_packets<FIRST, LAST>(phase);
        __syncthreads();
    }

    // Whether this thread's vector of a channel is one, if that of the first thread is `begin`. It is asked only where some
    // may not be: the compiler would otherwise wait for each load before the next one.
    __device__ __forceinline__ static bool is_vector(int begin) {
        constexpr int VECTORS = BATCH * (WIDTH / VECTOR);
        return VECTORS % THREADS == 0 ? begin < VECTORS : begin + static_cast<int>(threadIdx.x) < VECTORS;
    }

    template <int FIRST, int LAST>
    __device__ __forceinline__ void fetch_vectors(int phase) const {
        constexpr int ROW = WIDTH / VECTOR, FETCHED = LAST - FIRST + 1;
        constexpr int AT_ONCE = at_once((BATCH * ROW + THREADS - 1) / THREADS, 8 / FETCHED);
        for (int start = 0; start < BATCH * ROW; start += AT_ONCE * THREADS) {
            uint4 loaded[FETCHED][AT_ONCE];
#pragma unroll
            for (int k = 0; k < FETCHED * AT_ONCE; k++) {
                const int channel = k / AT_ONCE, begin = start + k % AT_ONCE * THREADS, i = begin + threadIdx.x;
                const uint4* from = reinterpret_cast<const uint4*>(global(FIRST + channel, phase));
                if (is_vector(begin)) loaded[channel][k % AT_ONCE] = load_shared_by_all(from + i);
            }
#pragma unroll
            for (int k = 0; k < FETCHED * AT_ONCE; k++) {
                const int channel = k / AT_ONCE, begin = start + k % AT_ONCE * THREADS, i = begin + threadIdx.x;
                Operand* to = fetched(FIRST + channel) + i / ROW * PITCH + i % ROW * VECTOR;
                if (is_vector(begin)) *reinterpret_cast<uint4*>(to) = loaded[channel][k % AT_ONCE];
            }
        }
    }

    // A thread takes the same packet of some blocks, whose places are then constants apart.
    template <int FIRST, int LAST>
    __device__ __forceinline__ void fetch_packets(int phase) const {
        constexpr unsigned GROUP = PACKETS_BLOCK < THREADS ? PACKETS_BLOCK : THREADS, GROUPS = THREADS / GROUP;
        constexpr unsigned FETCHED = LAST - FIRST + 1, CHANNEL = 2 * BLOCKS * PACKETS_BLOCK;
        constexpr unsigned AT_ONCE = at_once((BLOCKS + GROUPS - 1) / GROUPS, 8 / FETCHED);
        const unsigned first = threadIdx.x / GROUP < GROUPS ? threadIdx.x / GROUP : BLOCKS;
        for (unsigned i = threadIdx.x % GROUP; i < PACKETS_BLOCK; i += GROUP) {
            const uint4* from = packets_of(FIRST, phase) + i;
            for (unsigned start = first; start < BLOCKS; start += AT_ONCE * GROUPS) {
                uint4 loaded[FETCHED][AT_ONCE];
                // All that have not come are asked for in one round, so that a thread waits once for the slowest.
                unsigned missing = ~0u;
                for (Polls polls; missing != 0; polls.next()) {
#pragma unroll
                    for (unsigned k = 0; k < FETCHED * AT_ONCE; k++) {
                        const unsigned channel = k / AT_ONCE, block = start + k % AT_ONCE * GROUPS;
                        if (block < BLOCKS && (missing >> k & 1)) {
                            loaded[channel][k % AT_ONCE] = load_packet(from + channel * CHANNEL + block * PACKETS_BLOCK);
                        }
                    }
                    missing = 0;
#pragma unroll
                    for (unsigned k = 0; k < FETCHED * AT_ONCE; k++) {
                        const unsigned channel = k / AT_ONCE, block = start + k % AT_ONCE * GROUPS;
                        if (block < BLOCKS && loaded[channel][k % AT_ONCE].w != phase + 1) missing |= 1u << k;
                    }
                }
#pragma unroll
                for (unsigned k = 0; k < FETCHED * AT_ONCE; k++) {
                    const unsigned channel = k / AT_ONCE, block = start + k % AT_ONCE * GROUPS;
                    if (block < BLOCKS) unpack(loaded[channel][k % AT_ONCE], fetched(FIRST + channel), i, block);
                }
            }
        }
    }

    // Packet i of a block.
    __device__ __forceinline__ static void unpack(const uint4& packet, Operand* to, unsigned i, unsigned block) {
        const unsigned batch = i / PACKETS_ROW, part = i % PACKETS_ROW, words[3] = {packet.x, packet.y, packet.z};
        unsigned* row = reinterpret_cast<unsigned*>(to + batch * PITCH) + block * ROW_WORDS + part * PACKET_WORDS;
#pragma unroll
        for (unsigned word = 0; word < PACKET_WORDS; word++) {
            if (in_row(part, word)) row[word] = words[word];
        }
    }
};

#endif  // PERSISTENT
