// -- tiling: how a block shares its products among its threads, and what lies in its shared memory --------------------
// U stays on the chip for all steps.

#ifdef PERSISTENT

constexpr int WIDTH = BLOCKS * UNITS;         // units, padding included
constexpr int VECTOR = 16 / sizeof(Operand);  // operands in 16 bytes
constexpr int PITCH = WIDTH + VECTOR;         // of rows in shared memory: neighbours lie in different banks
constexpr int BLOCK_STATES = UNITS * BATCH;   // states that a block computes
constexpr int THREAD_STATES = (BLOCK_STATES + THREADS - 1) / THREADS;
constexpr int PARTIAL_PITCH = UNITS + 4;
constexpr int ARRIVALS_PITCH = 32;            // each team's counter has a cache line of its own

constexpr int WARPS = THREADS / 32;
constexpr int WEIGHTS = 3 * UNITS * WIDTH;    // operands of a block, in all
#if MATRIX_UNITS
constexpr int STEP_K = 32 / sizeof(Operand);  // k of one mma
constexpr int COLUMNS = (BATCH + 7) / 8 * 8;  // of a product: with fewer sequences the others are zero
constexpr int TILES = UNITS / 16;
constexpr int FRAGMENT = 32 * 16 / sizeof(Operand);
#else
constexpr int STEP_K = VECTOR;
constexpr int UNIT_GROUPS = UNITS / UNIT_TILE;
constexpr int TILES = UNIT_GROUPS * (BATCH / BATCH_TILE);
#endif
constexpr int STEPS_K = WIDTH / STEP_K;
constexpr int STEPS_SLICE = (STEPS_K + SLICES - 1) / SLICES;
static_assert(WIDTH % STEP_K == 0, "whole steps");
static_assert(REGISTER_STEPS <= STEPS_SLICE, "no more than there are");
#if MATRIX_UNITS
// Operands in shared memory.
constexpr int WEIGHTS_SHARED = 3 * TILES * SLICES * (STEPS_SLICE - REGISTER_STEPS) * FRAGMENT;
constexpr int PARTS = SLICES;                 // sums of a product that meet in shared memory
static_assert(UNITS % 16 == 0, "whole tiles");
static_assert(TILES * SLICES == WARPS, "a warp for each tile of units and slice of k");
#else
// Of a row, those not in registers.
constexpr int STEPS_SHARED = REGISTER_STEPS < STEPS_SLICE ? STEPS_K - REGISTER_STEPS * SLICES : 0;
constexpr int ROW_SHARED = STEPS_SHARED > 0 ? (STEPS_SHARED + 1) * VECTOR : 0;
constexpr int WEIGHTS_SHARED = 3 * UNITS * ROW_SHARED;
constexpr bool IN_WARP = TILES < 32 && 32 % TILES == 0;  // slices of a tile meet in a warp first
constexpr int PARTS = IN_WARP ? WARPS : SLICES;
static_assert(UNITS % UNIT_TILE == 0 && BATCH % BATCH_TILE == 0, "whole tiles");
static_assert(TILES * SLICES <= THREADS && TILES * SLICES > THREADS - 32, "a thread for each tile and slice of k");
#endif
static_assert(UNITS % VECTOR == 0, "whole vectors are exchanged");

// Shared memory: weights, what products read, staged values (CLUSTER, PACKETS), partial sums, barriers
// (CLUSTER).
#ifdef BACKWARD
constexpr int CHANNELS = 3;                    // what is exchanged: da_r, da_z, da_h
#else
constexpr int CHANNELS = RESET_AFTER ? 1 : 2;  // h, r * h
#endif
constexpr bool IS_STAGED = EXCHANGE_KIND == ExchangeKind::CLUSTER || EXCHANGE_KIND == ExchangeKind::PACKETS;
static_assert(THROUGH_MEMORY ? INPUTS == 1 || INPUTS == CHANNELS : INPUTS == 2 * CHANNELS, "one, all, or two buffers");
constexpr int INPUT = BATCH * PITCH;
constexpr int STAGED = IS_STAGED ? CHANNELS * BLOCK_STATES : 0;
constexpr int PARTIAL = PARTS * BATCH * PARTIAL_PITCH;
constexpr int OPERAND_BYTES = (WEIGHTS_SHARED + INPUTS * INPUT + STAGED) * static_cast<int>(sizeof(Operand));
constexpr int PARTIAL_AT = (OPERAND_BYTES + 15) / 16 * 16;
constexpr int BARRIERS_AT = PARTIAL_AT + 3 * PARTIAL * static_cast<int>(sizeof(Sum));
constexpr int BARRIERS = EXCHANGE_KIND == ExchangeKind::CLUSTER ? 4 : 0;
static_assert(
    BARRIERS_AT + BARRIERS * static_cast<int>(sizeof(Barrier)) == SHARED_BYTES, "the host computes another size");

#endif  // PERSISTENT
