// The GRU on a GPU. The files of this folder are one source (__init__.py joins them), compiled at first use, once for
// each variant. The host passes a variant's numbers as macros:
//
//   PRECISION    what is stored and multiplied: a value of `Precision`
//   MATRIX_UNITS 1 if matrix units compute the products, 0 if multiply-adds of single threads do
//   COMMON       defined for the kernels that do not depend on the layer (sort.cuh, dropout.cuh, zoneout.cuh,
//                recurrent_dropout.cuh, merge.cuh); none of the following
//   RESET_AFTER  which of the two cells: 1 or 0
//   H            hidden units
//   BACKWARD     defined for the backward pass
//   REVERSE      defined for a layer whose only direction runs from the last step to the first
//   CUSTOM_CELL  defined for a cell with other functions than the plain one's, or clips; only then these:
//   GATE_KIND, CANDIDATE_KIND      the function: a value of `Activation`
//   GATE_ALPHA, GATE_BETA, ...     its parameters
//   GATE_LOW, GATE_HIGH, ...       between which values it is not constant
//   GATE_BOUNDS, CANDIDATE_BOUNDS  which of the two it has: 1, 2, or both, 3
//   STATE_CLIP   the bound of states, where they are clipped
//   ZONEOUT      defined for the forward pass of a cell with zoneout: the factor of its update gate outside training
//   LAYER_NORM   defined for a cell with layer normalisation: its epsilon; only with STEPS
//   RECURRENT_MASK  defined where recurrent dropout masks the states that recurrent products read
//   STEPS        defined for the kernels of single steps (stepwise.cuh, layer_norm.cuh); none of the following
//   EXCHANGE     how the blocks of a team send each other h: a value of `ExchangeKind`
//   CLUSTER_BLOCKS  blocks of a cluster; defined for ExchangeKind::CLUSTER only
//   BLOCKS       blocks of a team, which together hold U: block i holds the rows of units i*UNITS to (i+1)*UNITS
//   UNITS        units of a block
//   BATCH        sequences that a team computes at once
//   INPUTS       what products read of the exchanged states has room in shared memory for so many of their arrays: from
//                memory one at a time or all, else two buffers of all
//   THREADS      threads of a block
//   SLICES       parts that the sums over k are split into
//   UNIT_TILE, BATCH_TILE    units and sequences of a thread, without matrix units
//   REGISTER_STEPS  of the steps of k of a thread, those whose weights stay in registers
//   SHARED_BYTES the shared memory of a block, as the host computes it
//
// Sizes in comments: N sequences, S rows (one row a step, all sequences), D directions, H units. Number is the type of
// arrays, Sum the type of sums, Operand the type that products read. Padding units (BLOCKS * UNITS > H) have zero
// weights and stay zero; padding sequences have no steps.

// As Precision on the host.
enum class Precision { FLOAT32, TF32, TF32X3, FLOAT16, BFLOAT16, FLOAT64 };

constexpr Precision VARIANT_PRECISION = static_cast<Precision>(PRECISION);
static_assert(
    (MATRIX_UNITS == 0) == (VARIANT_PRECISION == Precision::FLOAT32 || VARIANT_PRECISION == Precision::FLOAT64),
    "the host assigns matrix units otherwise");

#if !defined(COMMON) && !defined(STEPS)
#define PERSISTENT  // one kernel for all steps of all sequences

// As Exchange on the host.
enum class ExchangeKind {
    BLOCK,    // a team is one block: shared memory
    CLUSTER,  // the shared memory of a cluster
    GRID,     // global memory, with a counter of arrivals
    PACKETS,  // global memory, in packets that carry the phase
};

constexpr ExchangeKind EXCHANGE_KIND = static_cast<ExchangeKind>(EXCHANGE);
constexpr bool THROUGH_MEMORY = EXCHANGE_KIND == ExchangeKind::GRID || EXCHANGE_KIND == ExchangeKind::PACKETS;

// Only the preprocessor can choose a kernel's attribute.
#ifdef CLUSTER_BLOCKS
#define CLUSTERED __cluster_dims__(CLUSTER_BLOCKS, 1, 1)
#else
#define CLUSTERED
#endif
#endif
