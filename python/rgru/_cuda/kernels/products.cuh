// -- products: U in shared memory and registers times what was exchanged ----------------------------------------------

#ifdef PERSISTENT

// Each slice of k has partial sums of its own, which are added in a fixed order.
struct Products {
    const Operand* shared;  // in shared memory: the weights that are not in registers, [WEIGHTS_SHARED]
    Sum* partial;           // in shared memory: [3][PARTS][BATCH][PARTIAL_PITCH]

#if MATRIX_UNITS
    uint4 in_registers[3][REGISTER_STEPS > 0 ? REGISTER_STEPS : 1];

    __device__ __forceinline__ static int slice() { return threadIdx.x / 32 / TILES; }
    __device__ __forceinline__ static int tile() { return threadIdx.x / 32 % TILES; }

    __device__ __forceinline__ void load(
        const Operand* packed,  // [WEIGHTS] of this block
        Operand* to)            // in shared memory: [WEIGHTS_SHARED]
    {
        shared = to;
        const uint4* from = reinterpret_cast<const uint4*>(packed);
        const int lane = threadIdx.x % 32;
#pragma unroll
        for (int set = 0; set < 3; set++) {
#pragma unroll
            for (int i = 0; i < STEPS_SLICE; i++) {
                const int step = i * SLICES + slice();
                uint4 fragment = make_uint4(0, 0, 0, 0);
                if (step < STEPS_K) fragment = from[((set * STEPS_K + step) * TILES + tile()) * 32 + lane];
                if (i < REGISTER_STEPS) {
                    in_registers[set][i < REGISTER_STEPS ? i : 0] = fragment;
                } else {
                    reinterpret_cast<uint4*>(to)[place(set, i) + lane] = fragment;
                }
            }
        }
        __syncthreads();
    }

    // Where a fragment begins in shared memory, counted in lanes.
    __device__ __forceinline__ static int place(int set, int i) {
        const int step = set * (STEPS_SLICE - REGISTER_STEPS) + i - REGISTER_STEPS;
        return (step * WARPS + static_cast<int>(threadIdx.x) / 32) * 32;
    }

    // Whether a column of the product is no padding.
    __device__ __forceinline__ static bool is_sequence(int column) { return COLUMNS == BATCH || column < BATCH; }

    template <int SETS>
    struct Sums {
        float at[SETS][COLUMNS / 8][4] = {};

        // Adds those of a set of `other`.
        template <int OTHER>
        __device__ __forceinline__ void add(int set, const Sums<OTHER>& other, int of) {
            for (int n = 0; n < COLUMNS / 8; n++) {
                for (int i = 0; i < 4; i++) at[set][n][i] += other.at[of][n][i];
            }
        }
    };

    // c += a b, where each float is the sum of two tf32 numbers but for 2^-22 of it; the smallest of the four products is
    // left out. Matrix units truncate sums, so that the sums of all steps are added outside (Ootomo and Yokota, 2022).
    __device__ __forceinline__ static void multiply_split(
        float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2])
    {
        unsigned a_high[4], a_low[4], b_high[2], b_low[2];
        for (int i = 0; i < 4; i++) split(a[i], a_high[i], a_low[i]);
        for (int i = 0; i < 2; i++) split(b[i], b_high[i], b_low[i]);
        float sums[4] = {0, 0, 0, 0};
        mma_m16n8k8_tf32(sums, a_low, b_high);
        mma_m16n8k8_tf32(sums, a_high, b_low);
        mma_m16n8k8_tf32(sums, a_high, b_high);
        for (int i = 0; i < 4; i++) c[i] += sums[i];
    }

    // Matrix units ignore the lower 13 bits, so that adding half of the last bit rounds. The lower part of
    // what is not finite is NaN, whose bits on a GPU, 0x7fffffff, the addition makes zero: the upper part remains.
    __device__ __forceinline__ static void split(unsigned value, unsigned& high, unsigned& low) {
        high = value & 0xffffe000u;
        low = __float_as_uint(__uint_as_float(value) - __uint_as_float(high)) + 0x1000u;
    }

    // sums += fragments of a step of k, times its part of each set's input.
    template <int DISTANCE, int SETS>
    __device__ __forceinline__ static void multiply_step(
        Sums<SETS>& sums, const uint4 (&fragments)[SETS],
        const Operand* column)  // of this lane, in [BATCH][PITCH]
    {
        for (int n = 0; n < COLUMNS / 8; n++) {
            const bool loads = is_sequence(n * 8 + static_cast<int>(threadIdx.x) % 32 / 4);
            unsigned b[2] = {0, 0};
            for (int set = 0; set < SETS; set++) {
                if (loads && (set == 0 || DISTANCE > 0)) {
                    const Operand* from = column + set * DISTANCE + n * 8 * PITCH;
                    b[0] = *reinterpret_cast<const unsigned*>(from);
                    b[1] = *reinterpret_cast<const unsigned*>(from + STEP_K / 2);
                }
                const unsigned a[4] = {fragments[set].x, fragments[set].y, fragments[set].z, fragments[set].w};
                if constexpr (VARIANT_PRECISION == Precision::TF32) mma_m16n8k8_tf32(sums.at[set][n], a, b);
                else if constexpr (VARIANT_PRECISION == Precision::TF32X3) multiply_split(sums.at[set][n], a, b);
                else if constexpr (VARIANT_PRECISION == Precision::FLOAT16) mma_m16n8k16_f16(sums.at[set][n], a, b);
                else mma_m16n8k16_bf16(sums.at[set][n], a, b);
            }
        }
    }

    // sums += rows of the gates FIRST to FIRST + SETS - 1, times the input; that of a further set lies DISTANCE after.
    template <int FIRST, int SETS, int DISTANCE = 0>
    __device__ __forceinline__ void multiply(
        Sums<SETS>& sums,
        const Operand* input) const  // [BATCH][PITCH]
    {
        __syncwarp();  // an mma is for whole warps
        const int lane = threadIdx.x % 32;
        // Operands 2i and 2i+1 (half), or i (float), and those half a step further.
        const Operand* column = input + lane / 4 * PITCH + lane % 4 * (4 / static_cast<int>(sizeof(Operand)));
        constexpr int CHAINS = chains(SETS);
        Sums<SETS> chain[CHAINS];
        uint4 fragments[SETS];
#pragma unroll
        for (int i = 0; i < REGISTER_STEPS; i++) {
            const int step = i * SLICES + slice();
            if (step >= STEPS_K) break;
            for (int set = 0; set < SETS; set++) fragments[set] = in_registers[FIRST + set][i];
            multiply_step<DISTANCE>(chain[i % CHAINS], fragments, column + step * STEP_K);
        }
#pragma unroll(4 / CHAINS)
        for (int first = REGISTER_STEPS; first < STEPS_SLICE; first += CHAINS) {
#pragma unroll
            for (int i = first; i < first + CHAINS; i++) {
                const int step = i * SLICES + slice();
                if (i >= STEPS_SLICE || step >= STEPS_K) break;
                for (int set = 0; set < SETS; set++) {
                    fragments[set] = reinterpret_cast<const uint4*>(shared)[place(FIRST + set, i) + lane];
                }
                multiply_step<DISTANCE>(chain[i - first], fragments, column + step * STEP_K);
            }
        }
        add_chains(sums, chain);
    }

    template <int FIRST, int SETS>
    __device__ __forceinline__ void store(const Sums<SETS>& sums) const {
        const int lane = threadIdx.x % 32;
        for (int set = 0; set < SETS; set++) {
            for (int n = 0; n < COLUMNS / 8; n++) {
                for (int i = 0; i < 4; i++) {
                    const int unit = tile() * 16 + lane / 4 + i / 2 * 8, batch = n * 8 + lane % 4 * 2 + i % 2;
                    if (is_sequence(batch)) at(FIRST + set, slice(), batch, unit) = sums.at[set][n][i];
                }
            }
        }
    }
#else
    struct alignas(16) Vector {
        Operand at[VECTOR];
    };

    Vector in_registers[3][UNIT_TILE][REGISTER_STEPS > 0 ? REGISTER_STEPS : 1];

    __device__ __forceinline__ static int slice() { return threadIdx.x / TILES; }
    // Unit and sequence i of a thread lie apart by the number of groups, so that neighbouring threads read neighbours.
    __device__ __forceinline__ static int unit(int i) { return threadIdx.x % TILES % UNIT_GROUPS + i * UNIT_GROUPS; }
    __device__ __forceinline__ static int batch(int i) {
        return threadIdx.x % TILES / UNIT_GROUPS + i * (BATCH / BATCH_TILE);
    }

    __device__ __forceinline__ static Vector vector(const Operand* from) {
        Vector v;
        *reinterpret_cast<uint4*>(v.at) = *reinterpret_cast<const uint4*>(from);
        return v;
    }

    // Step i of this slice is step i * SLICES + slice() of k. There is no such step where slices do not divide them.
    __device__ __forceinline__ static bool is_step(int i) {
        return (i + 1) * SLICES <= STEPS_K || i * SLICES + slice() < STEPS_K;
    }

    __device__ __forceinline__ void load(
        const Operand* packed,  // [WEIGHTS] of this block
        Operand* to)            // in shared memory: [WEIGHTS_SHARED]
    {
        shared = to;
        for (int row = threadIdx.x / 32; row < 3 * UNITS; row += WARPS) {
            for (int step = threadIdx.x % 32; step < STEPS_SHARED; step += 32) {
                const Vector last = vector(packed + row * WIDTH + (REGISTER_STEPS * SLICES + step) * VECTOR);
                *reinterpret_cast<Vector*>(to + row * ROW_SHARED + step * VECTOR) = last;
            }
        }
#pragma unroll
        for (int i = 0; i < REGISTER_STEPS; i++) {
            if (slice() >= SLICES || !is_step(i)) break;
            for (int set = 0; set < 3; set++) {
                for (int j = 0; j < UNIT_TILE; j++) {
                    const int step = i * SLICES + slice();
                    in_registers[set][j][i] = vector(packed + (set * UNITS + unit(j)) * WIDTH + step * VECTOR);
                }
            }
        }
        __syncthreads();
    }

    template <int SETS>
    struct Sums {
        Sum at[SETS][UNIT_TILE][BATCH_TILE] = {};

        // Adds those of a set of `other`.
        template <int OTHER>
        __device__ __forceinline__ void add(int set, const Sums<OTHER>& other, int of) {
            for (int j = 0; j < UNIT_TILE; j++) {
                for (int n = 0; n < BATCH_TILE; n++) at[set][j][n] += other.at[of][j][n];
            }
        }
    };

    // sums += rows of the gates FIRST to FIRST + SETS - 1, times the input; that of a further set lies DISTANCE after.
    template <int FIRST, int SETS, int DISTANCE = 0>
    __device__ __forceinline__ void multiply(
        Sums<SETS>& sums,
        const Operand* input) const  // [BATCH][PITCH]
    {
        if (slice() >= SLICES) return;
        constexpr int CHAINS = chains(SETS * UNIT_TILE * BATCH_TILE);
        Sums<SETS> chain[CHAINS];
#pragma unroll
        for (int i = 0; i < REGISTER_STEPS; i++) {
            if (!is_step(i)) break;
            const Operand* column = input + (i * SLICES + slice()) * VECTOR;
            multiply_step<DISTANCE>(
                chain[i % CHAINS], column, [&](int set, int j) { return in_registers[FIRST + set][j][i]; });
        }
#pragma unroll(2 / CHAINS)
        for (int first = REGISTER_STEPS; first < STEPS_SLICE; first += CHAINS) {
#pragma unroll
            for (int i = first; i < first + CHAINS; i++) {
                if (i >= STEPS_SLICE || !is_step(i)) break;
                const int step = (i - REGISTER_STEPS) * SLICES + slice();
                const Operand* row = shared + FIRST * UNITS * ROW_SHARED + step * VECTOR;
                const Operand* column = input + (i * SLICES + slice()) * VECTOR;
                multiply_step<DISTANCE>(chain[i - first], column, [&](int set, int j) {
                    return vector(row + (set * UNITS + unit(j)) * ROW_SHARED);
                });
            }
        }
        add_chains(sums, chain);
    }

    // sums += weights of a step of k, row(set, j), times its part of each set's input.
    template <int DISTANCE, int SETS, class Row>
    __device__ __forceinline__ static void multiply_step(
        Sums<SETS>& sums,
        const Operand* column,  // in [BATCH][PITCH]
        Row row)
    {
        Vector columns[BATCH_TILE];
        for (int set = 0; set < SETS; set++) {
            if (set == 0 || DISTANCE > 0) {
                for (int n = 0; n < BATCH_TILE; n++) columns[n] = vector(column + set * DISTANCE + batch(n) * PITCH);
            }
            for (int j = 0; j < UNIT_TILE; j++) {
                const Vector weights = row(set, j);
                for (int n = 0; n < BATCH_TILE; n++) {
                    for (int i = 0; i < VECTOR; i++) sums.at[set][j][n] += weights.at[i] * columns[n].at[i];
                }
            }
        }
    }

    template <int FIRST, int SETS>
    __device__ __forceinline__ void store(Sums<SETS> sums) const {
        if (IN_WARP) {
            for (int set = 0; set < SETS; set++) {
                for (int j = 0; j < UNIT_TILE; j++) {
                    for (int n = 0; n < BATCH_TILE; n++) {
                        Sum& sum = sums.at[set][j][n];
#pragma unroll
                        for (int lanes = 16; lanes >= TILES; lanes /= 2) sum += __shfl_xor_sync(~0u, sum, lanes);
                    }
                }
            }
        }
        if (IN_WARP ? threadIdx.x % 32 >= TILES : slice() >= SLICES) return;
        for (int set = 0; set < SETS; set++) {
            for (int j = 0; j < UNIT_TILE; j++) {
                for (int n = 0; n < BATCH_TILE; n++) {
                    at(FIRST + set, IN_WARP ? threadIdx.x / 32 : slice(), batch(n), unit(j)) = sums.at[set][j][n];
                }
            }
        }
    }
#endif

    // A sum is added up in so many parts if a thread has few: an addition waits for the one before it.
    __device__ static constexpr int chains(int sums) { return sums < 3 ? 2 : 1; }

    template <int SETS, int CHAINS>
    __device__ __forceinline__ static void add_chains(Sums<SETS>& sums, const Sums<SETS> (&chain)[CHAINS]) {
        for (int set = 0; set < SETS; set++) {
            for (int i = 0; i < CHAINS; i++) sums.add(set, chain[i], set);
        }
    }

    __device__ __forceinline__ Sum& at(int set, int part, int batch, int unit) const {
        return partial[(set * PARTS + part) * (BATCH * PARTIAL_PITCH) + batch * PARTIAL_PITCH + unit];
    }

    // The sum over all parts, always in the same order.
    __device__ __forceinline__ Sum total(int set, int batch, int unit) const {
        Sum sum = at(set, 0, batch, unit);
        for (int part = 1; part < PARTS; part++) sum += at(set, part, batch, unit);
        return sum;
    }

    // partial = rows of the gates FIRST to FIRST + SETS - 1, times the input.
    template <int FIRST, int SETS>
    __device__ __forceinline__ void product(const Operand* input) const {  // [BATCH][PITCH]
        Sums<SETS> sums;
        multiply<FIRST, SETS>(sums, input);
        store<FIRST, SETS>(sums);
    }

    // partial[0] = rows of all gates, each times an input of its own, which lie DISTANCE apart.
    template <int DISTANCE>
    __device__ __forceinline__ void product_of_all(const Operand* input) const {  // [BATCH][PITCH]
        Sums<3> sums;
        multiply<0, 3, DISTANCE>(sums, input);
        Sums<1> all;
        for (int set = 0; set < 3; set++) all.add(0, sums, set);
        store<0, 1>(all);
    }
};

#endif  // PERSISTENT
