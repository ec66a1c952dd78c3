// -- recurrence: what the forward and the backward pass share ---------------------------------------------------------

#ifdef PERSISTENT

// A state that a thread computes: its unit in the block, its sequence in the team's batch.
struct Owned {
    bool mine;  // not beyond the block's states
    bool real;  // and no padding
    int unit, batch;
    Sequence sequence;
    Cells cells;
};

// One launch, as a block sees it. Team i computes direction i % D.
struct Pass {
    Team team;
    int count, directions, direction;
    Products products;
    Exchange exchange;

    // Lays out the shared memory, loads the weights, and opens the exchange.
    __device__ __forceinline__ Pass(
        const Operand* packed,  // [D, BLOCKS, WEIGHTS] of `pack`
        void* published,        // of all teams, [teams][CHANNELS][2]..., as in `Exchange`
        unsigned* arrivals,     // [teams, ARRIVALS_PITCH]
        int count, int directions)
        : count(count), directions(directions), direction(team.index % directions)
    {
        Operand* operands = reinterpret_cast<Operand*>(dynamic_shared());
        products.partial = reinterpret_cast<Sum*>(dynamic_shared() + PARTIAL_AT);
        products.load(packed + (static_cast<long long>(direction) * BLOCKS + team.rank) * WEIGHTS, operands);
        exchange.inputs = operands + WEIGHTS_SHARED;
        exchange.staged = exchange.inputs + INPUTS * INPUT;
        exchange.barriers = reinterpret_cast<Barrier*>(dynamic_shared() + BARRIERS_AT);
        exchange.published = static_cast<Operand*>(published) + team.index * (CHANNELS * 2ll * BATCH * WIDTH);
        exchange.packets = static_cast<uint4*>(published) + team.index * (CHANNELS * 2ll * BLOCKS * PACKETS_BLOCK);
        exchange.arrivals = arrivals + team.index * ARRIVALS_PITCH;
        exchange.awaited = 0;
        exchange.rank = team.rank;
        exchange.begin();
    }

    // The parts of the batch, of BATCH sequences each, that this team computes.
    __device__ __forceinline__ int first_part() const { return team.index / directions; }
    __device__ __forceinline__ int next_part(int part) const { return part + team.teams / directions; }

    // State i of this thread.
    __device__ __forceinline__ Owned owned(
        int i, int part,
        const int* order,              // [N] the sequences, longest first
        const int* length,             // [N]
        const long long* first) const  // [N] row of each sequence's first step
    {
        const int index = threadIdx.x + i * THREADS;
        Owned own;
        own.mine = index < BLOCK_STATES;
        own.unit = index % UNITS;
        own.batch = index / UNITS;
        own.sequence = sequence_at(own.mine ? part * BATCH + own.batch : count, count, order, length, first);
        own.cells = Cells{directions, direction, team.rank * UNITS + own.unit};
        own.real = own.sequence.n >= 0 && own.cells.unit < H;
        return own;
    }
};

#endif  // PERSISTENT
