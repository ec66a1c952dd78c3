// The GRU on the GPU. Compiled at first use, once for each variant; the variant's numbers come as macros:
//
//   PRECISION    what is stored and multiplied: 0 float32, 1 tf32, 2 float16, 3 bfloat16, 4 float64
//   RESET_AFTER  which of the two cells
//   H            hidden units
//   EXCHANGE     how the blocks of a team give each other h: 0 BLOCK (a team is one block), 1 CLUSTER, 2 GRID,
//                3 PACKETS
//   BLOCKS       blocks of a team, which together hold U: block i the rows of units i*UNITS to (i+1)*UNITS
//   UNITS        units of a block
//   BATCH        sequences that a team walks at once
//   THREADS      threads of a block
//   SLICES       parts that the sums over k are split into
//   UNIT_TILE, BATCH_TILE    units and sequences of a thread, where products are made of single multiply-adds
//   KEPT         steps of k, of those that a thread takes, whose weights it keeps in registers
//   SHARED_BYTES what forms.py reckons that a block needs of shared memory
//
// Sizes in comments: N sequences, S rows (one row a step, all sequences), D directions, H units. Number is the type of
// arrays, Sum the type that is computed in, Operand what products read. Padding units (BLOCKS * UNITS > H) have zero
// weights and stay zero; padding sequences have no steps.

#define FLOAT32 0
#define TF32 1
#define FLOAT16 2
#define BFLOAT16 3
#define FLOAT64 4
#define BLOCK 0
#define CLUSTER 1
#define GRID 2
#define PACKETS 3
#define MATRIX_UNITS (PRECISION == TF32 || PRECISION == FLOAT16 || PRECISION == BFLOAT16)

// -- what the hardware gives ------------------------------------------------------------------------------------------
// Tests on a CPU have versions of their own.

#ifdef __CUDACC__

__device__ __forceinline__ unsigned char* dynamic_shared() {
    extern __shared__ uint4 dynamic[];
    return reinterpret_cast<unsigned char*>(dynamic);
}

__device__ __forceinline__ unsigned load_acquire(const unsigned* from) {
    unsigned value;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(from) : "memory");
    return value;
}

__device__ __forceinline__ void add_release(unsigned* to, unsigned value) {
    asm volatile("red.release.gpu.global.add.u32 [%0], %1;" ::"l"(to), "r"(value) : "memory");
}

// From the second-level cache: what other multiprocessors have written.
__device__ __forceinline__ uint4 load_shared_by_all(const uint4* from) {
    uint4 v;
    asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(from));
    return v;
}

#if EXCHANGE == PACKETS
// 16 bytes that arrive as one: a scalar of 128 bits in the memory model, which a vector of four words is not.
__device__ __forceinline__ uint4 load_packet(const uint4* from) {
    uint4 v;
    asm volatile(
        "{.reg .b128 packet; .reg .b64 low, high; ld.relaxed.gpu.global.b128 packet, [%4]; "
        "mov.b128 {low, high}, packet; mov.b64 {%0, %1}, low; mov.b64 {%2, %3}, high;}"
        : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
        : "l"(from));
    return v;
}

__device__ __forceinline__ void store_packet(uint4* to, uint4 v) {
    asm volatile(
        "{.reg .b128 packet; .reg .b64 low, high; mov.b64 low, {%1, %2}; mov.b64 high, {%3, %4}; "
        "mov.b128 packet, {low, high}; st.relaxed.gpu.global.b128 [%0], packet;}" ::"l"(to),
        "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
        : "memory");
}
#endif

#if EXCHANGE == CLUSTER
#define CLUSTERED __cluster_dims__(BLOCKS, 1, 1)
__device__ __forceinline__ void cluster_arrive() { asm volatile("barrier.cluster.arrive.release;" ::: "memory"); }
__device__ __forceinline__ void cluster_wait() { asm volatile("barrier.cluster.wait.acquire;" ::: "memory"); }

__device__ __forceinline__ unsigned cluster_rank() {
    unsigned rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

__device__ __forceinline__ void* cluster_map(void* own, unsigned rank) {
    void* mapped;
    asm volatile("mapa.u64 %0, %1, %2;" : "=l"(mapped) : "l"(own), "r"(rank));
    return mapped;
}

__device__ __forceinline__ void store_remote(void* to, uint4 value) { *static_cast<uint4*>(to) = value; }
#endif

// By the special function units.
__device__ __forceinline__ float fast_exponential(float a) { return __expf(a); }
__device__ __forceinline__ float fast_quotient(float a, float b) { return __fdividef(a, b); }

#if PRECISION == FLOAT16
__device__ __forceinline__ unsigned short to_f16(float value) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}

__device__ __forceinline__ float from_f16(unsigned short bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

// c += a b with a (16, 16), b (16, 8). PTX ISA, "Matrix fragments for mma.m16n8k16": with g = lane / 4, i = lane % 4,
// a[0] holds row g, k = 2i and 2i+1; a[1] row g+8; a[2] and a[3] the same at k + 8; b[0] column g, k = 2i and 2i+1;
// b[1] k + 8; c[0] and c[1] row g, columns 2i and 2i+1; c[2] and c[3] row g+8.
__device__ __forceinline__ void mma_m16n8k16_f16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    for (int half = 0; half < 2; half++) {
        asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[2 * half]), "r"(a[2 * half + 1]), "r"(b[half]));
    }
#endif
}
#endif

#if PRECISION == BFLOAT16
__device__ __forceinline__ float from_bf16(unsigned short bits) { return __uint_as_float(unsigned(bits) << 16); }

__device__ __forceinline__ unsigned short to_bf16(float value) {
    const unsigned bits = __float_as_uint(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<unsigned short>(bits >> 16 | 0x40u);  // NaN stays NaN
    return static_cast<unsigned short>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);                  // nearest even
}

// As mma_m16n8k16_f16.
__device__ __forceinline__ void mma_m16n8k16_bf16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

#if PRECISION == TF32
__device__ __forceinline__ float to_tf32(float value) {
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
    return __uint_as_float(bits);
}

// c += a b with a (16, 8), b (8, 8). PTX ISA, "Matrix fragments for mma.m16n8k8": a[0] holds row g, k = i; a[1] row
// g+8; a[2] and a[3] the same at k + 4; b[0] column g, k = i; b[1] k + 4; c as for m16n8k16.
__device__ __forceinline__ void mma_m16n8k8_tf32(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

#endif  // __CUDACC__

#ifndef CLUSTERED
#define CLUSTERED
#endif

// -- numbers ----------------------------------------------------------------------------------------------------------

#if PRECISION == FLOAT64
typedef double Number;
typedef double Sum;
typedef double Operand;
#elif PRECISION == FLOAT16 || PRECISION == BFLOAT16
typedef unsigned short Number;
typedef float Sum;
typedef unsigned short Operand;
#else
typedef float Number;
typedef float Sum;
typedef float Operand;
#endif

#if PRECISION == FLOAT16
__device__ __forceinline__ Sum widen(Number number) { return from_f16(number); }
__device__ __forceinline__ Number narrow(Sum sum) { return to_f16(sum); }
#elif PRECISION == BFLOAT16
__device__ __forceinline__ Sum widen(Number number) { return from_bf16(number); }
__device__ __forceinline__ Number narrow(Sum sum) { return to_bf16(sum); }
#else
__device__ __forceinline__ Sum widen(Number number) { return number; }
__device__ __forceinline__ Number narrow(Sum sum) { return sum; }
#endif

#if PRECISION == TF32
__device__ __forceinline__ Operand operand(Sum sum) { return to_tf32(sum); }
#else
__device__ __forceinline__ Operand operand(Sum sum) { return narrow(sum); }
#endif

__device__ __forceinline__ double sigmoid(double a) { return 1.0 / (1.0 + exp(-a)); }
__device__ __forceinline__ double hyperbolic_tangent(double a) { return tanh(a); }
#if MATRIX_UNITS
// Errors are below 3e-7: far below what products are rounded to.
__device__ __forceinline__ float sigmoid(float a) { return fast_quotient(1.0f, 1.0f + fast_exponential(-a)); }
__device__ __forceinline__ float hyperbolic_tangent(float a) {
    return 1.0f - fast_quotient(2.0f, 1.0f + fast_exponential(2.0f * a));
}
#else
__device__ __forceinline__ float sigmoid(float a) { return 1.0f / (1.0f + expf(-a)); }
__device__ __forceinline__ float hyperbolic_tangent(float a) { return tanhf(a); }
#endif

// -- the cell ---------------------------------------------------------------------------------------------------------
// The GRU equations, forward and backward; a_* are pre-activations, d* gradients of the loss.

struct Gates {
    Sum r, z, c, a_hh;  // a_hh = U_hh h + b_hh, reset-after
};

// What the candidate's recurrent product reads: r * h, reset-before.
__device__ __forceinline__ Sum reset(Sum a_r, Sum h) { return sigmoid(a_r) * h; }

// Gates of a step and, in h, its new state. a_h is W_xh x + b_h, and a_hh the candidate's recurrent part:
// U_hh h + b_hh reset-after, U_hh (r * h) reset-before.
__device__ __forceinline__ Gates cell(Sum a_r, Sum a_z, Sum a_h, Sum a_hh, Sum& h) {
    Gates gates;
    gates.r = sigmoid(a_r);
    gates.z = sigmoid(a_z);
    gates.c = hyperbolic_tangent(RESET_AFTER ? a_h + gates.r * a_hh : a_h + a_hh);
    gates.a_hh = a_hh;
    h += gates.z * (gates.c - h);
    return gates;
}

struct Slopes {
    Sum r, z, h, hh;  // gradients of a_r, a_z, a_h and, reset-after, of a_hh
};

__device__ __forceinline__ Sum reset_slope(Sum r, Sum dr) { return dr * r * (Sum(1) - r); }

// Slopes of a step from the gradient dh of its state, which becomes the part that does not pass through the gates.
// Reset-before, the slope of r waits for `cell_backward_reset`.
__device__ __forceinline__ Slopes cell_backward(const Gates& gates, Sum h_prev, Sum& dh) {
    const Sum kept = Sum(1) - gates.z;
    Slopes slopes;
    slopes.z = dh * (gates.c - h_prev) * gates.z * kept;
    slopes.h = dh * gates.z * (Sum(1) - gates.c * gates.c);
    slopes.hh = RESET_AFTER ? slopes.h * gates.r : slopes.h;
    slopes.r = RESET_AFTER ? reset_slope(gates.r, slopes.h * gates.a_hh) : Sum(0);
    dh *= kept;
    return slopes;
}

// Reset-before: the slope of r, from the gradient drh of r * h; adds to dh what goes to h through r * h.
__device__ __forceinline__ Sum cell_backward_reset(Sum r, Sum h_prev, Sum drh, Sum& dh) {
    dh += r * drh;
    return reset_slope(r, drh * h_prev);
}

// -- arrays of a run --------------------------------------------------------------------------------------------------

// A sequence in one direction.
struct Sequence {
    int n;            // its place in arrays [N]; padding has no steps, and n = -1
    int length;       // steps
    long long first;  // row of its first step in arrays [S]

    __device__ __forceinline__ long long row(int t, int direction) const {
        return first + (direction ? length - 1 - t : t);
    }
};

__device__ __forceinline__ Sequence sequence_at(
    int position, int count, const int* order, const int* length, const long long* first) {
    if (position >= count) return Sequence{-1, 0, 0};
    const int n = order[position];
    return Sequence{n, length[n], first[n]};
}

// Where the numbers of one unit in one step lie.
struct Cells {
    int directions, direction, unit;

    // In arrays [S, D, H], and [S, D, 3, H] at the gate's.
    __device__ __forceinline__ long long one(long long row) const {
        return (row * directions + direction) * H + unit;
    }
    __device__ __forceinline__ long long three(long long row, int gate) const {
        return ((row * directions + direction) * 3 + gate) * H + unit;
    }
    // In arrays [D, N, H].
    __device__ __forceinline__ long long state(int n, int count) const {
        return (static_cast<long long>(direction) * count + n) * H + unit;
    }
};

struct Biases {
    Sum r, z, h, hh;
};

__device__ __forceinline__ Biases load_biases(const Sum* b, const Sum* b_hh, int direction, int unit) {
    Biases biases = {0, 0, 0, 0};
    if (b != nullptr) {
        biases.r = b[(direction * 3 + 0) * H + unit];
        biases.z = b[(direction * 3 + 1) * H + unit];
        biases.h = b[(direction * 3 + 2) * H + unit];
    }
    if (b_hh != nullptr) biases.hh = b_hh[direction * H + unit];
    return biases;
}

// The input's part of the pre-activations of a step. Nothing is done with it here, so that nobody waits for it yet.
struct Projection {
    Sum r, z, h;
};

__device__ __forceinline__ Projection load_projection(const Sum* gx, const Cells& cells, long long row) {
    return Projection{gx[cells.three(row, 0)], gx[cells.three(row, 1)], gx[cells.three(row, 2)]};
}

// tape may be gx itself: whoever writes here has read there.
__device__ __forceinline__ void store_step(
    Number* y, Number* tape, Number* tape_hh, const Cells& cells, long long row, const Gates& gates, Sum h) {
    y[cells.one(row)] = narrow(h);
    if (tape == nullptr) return;
    tape[cells.three(row, 0)] = narrow(gates.r);
    tape[cells.three(row, 1)] = narrow(gates.z);
    tape[cells.three(row, 2)] = narrow(gates.c);
    if (RESET_AFTER) tape_hh[cells.one(row)] = narrow(gates.a_hh);
}

// What the way back through a step needs, as it lies in memory: again nobody waits for it yet.
struct Kept {
    Number r, z, c, a_hh, h_prev, dy;

    __device__ __forceinline__ Gates gates() const { return Gates{widen(r), widen(z), widen(c), widen(a_hh)}; }
};

__device__ __forceinline__ Number load_previous(
    const Number* y, const Number* h0, const Cells& cells, const Sequence& sequence, int t, int count) {
    if (t > 0) return y[cells.one(sequence.row(t - 1, cells.direction))];
    return h0 == nullptr ? narrow(0) : h0[cells.state(sequence.n, count)];
}

__device__ __forceinline__ Kept load_kept(
    const Number* tape, const Number* tape_hh, const Number* y, const Number* h0, const Number* dy, const Cells& cells,
    const Sequence& sequence, int t, int count) {
    const long long row = sequence.row(t, cells.direction);
    Kept kept;
    kept.r = tape[cells.three(row, 0)];
    kept.z = tape[cells.three(row, 1)];
    kept.c = tape[cells.three(row, 2)];
    kept.a_hh = RESET_AFTER ? tape_hh[cells.one(row)] : narrow(0);
    kept.h_prev = load_previous(y, h0, cells, sequence, t, count);
    kept.dy = dy == nullptr ? narrow(0) : dy[cells.one(row)];
    return kept;
}

// What the gradients of the weights are made of: da (S, D, 3, H); h_prev (S, D, H), what U_r and U_z have read; and
// what is the candidate's own (S, D, H): the slope of U_hh h reset-after, else r * h_prev, what U_hh has read.
__device__ __forceinline__ void store_slopes(
    Number* da, Number* da_own, Number* previous, const Cells& cells, long long row, const Slopes& slopes, Sum r,
    Sum h_prev) {
    da[cells.three(row, 0)] = narrow(slopes.r);
    da[cells.three(row, 1)] = narrow(slopes.z);
    da[cells.three(row, 2)] = narrow(slopes.h);
    da_own[cells.one(row)] = narrow(RESET_AFTER ? slopes.hh : r * h_prev);
    previous[cells.one(row)] = narrow(h_prev);
}

// -- what does not depend on the layer --------------------------------------------------------------------------------

#ifdef COMMON

// The sequences, longest first, equal ones in the order of the batch; one thread for each.
extern "C" __global__ void sort_by_length(
    const int* length,  // [N]
    int* order,         // [N]
    int count) {
    const int n = blockIdx.x * blockDim.x + threadIdx.x;
    if (n >= count) return;
    int before = 0;
    for (int other = 0; other < count; other++) {
        before += length[other] > length[n] || (length[other] == length[n] && other < n);
    }
    order[before] = n;
}

// Dropout between layers, with the CPU's masks: number i of a layer's input is hidden if word i of ChaCha8 (Bernstein
// 2008; stream: the layer) is below rate * 2^32. The key is drawn from the seed by PCG32 (O'Neill 2014).

struct Block16 {
    unsigned word[16];
};

__device__ __forceinline__ unsigned rotate(unsigned value, unsigned by) { return value << by | value >> (32 - by); }

__device__ __forceinline__ void quarter_round(unsigned& a, unsigned& b, unsigned& c, unsigned& d) {
    a += b, d = rotate(d ^ a, 16);
    c += d, b = rotate(b ^ c, 12);
    a += b, d = rotate(d ^ a, 8);
    c += d, b = rotate(b ^ c, 7);
}

__device__ __forceinline__ Block16 chacha8(unsigned long long seed, unsigned layer, unsigned long long counter) {
    Block16 start = {{0x61707865u, 0x3320646eu, 0x79622d32u, 0x6b206574u}};
    for (int i = 4; i < 12; i++) {
        seed = seed * 0x5851f42d4c957f2dull + 0xa17654e46fbe17f3ull;
        const unsigned value = static_cast<unsigned>((seed >> 18 ^ seed) >> 27), by = static_cast<unsigned>(seed >> 59);
        start.word[i] = by == 0 ? value : value >> by | value << (32 - by);
    }
    start.word[12] = static_cast<unsigned>(counter), start.word[13] = static_cast<unsigned>(counter >> 32);
    start.word[14] = layer, start.word[15] = 0;
    Block16 block = start;
    unsigned* w = block.word;
    for (int i = 0; i < 4; i++) {
        quarter_round(w[0], w[4], w[8], w[12]), quarter_round(w[1], w[5], w[9], w[13]);
        quarter_round(w[2], w[6], w[10], w[14]), quarter_round(w[3], w[7], w[11], w[15]);
        quarter_round(w[0], w[5], w[10], w[15]), quarter_round(w[1], w[6], w[11], w[12]);
        quarter_round(w[2], w[7], w[8], w[13]), quarter_round(w[3], w[4], w[9], w[14]);
    }
    for (int i = 0; i < 16; i++) w[i] += start.word[i];
    return block;
}

// to = from * mask; one thread for 16 numbers. to may be from.
extern "C" __global__ void dropout(
    const Number* from, Number* to, long long size, double rate, unsigned long long seed, int layer) {
    const long long counter = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x;
    if (counter * 16 >= size) return;
    const Block16 block = chacha8(seed, layer, counter);
    const Sum scale = static_cast<Sum>(1.0 / (1.0 - rate));
    for (int i = 0; i < 16 && counter * 16 + i < size; i++) {
        const bool hidden = static_cast<double>(block.word[i]) < rate * 4294967296.0;
        to[counter * 16 + i] = narrow(hidden ? Sum(0) : widen(from[counter * 16 + i]) * scale);
    }
}

#endif  // COMMON

// -- steps one by one: a product of the library, then one of these, one thread for each unit of each sequence ---------
// Step t is number `offset` after the `*done` steps in device memory, so that one graph of some steps serves all.

#ifdef STEPS

// Position of a thread: sequence `at` among the sorted, and unit.
#define EACH_UNIT                                                                             \
    const long long index = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x;    \
    if (index >= static_cast<long long>(count) * H) return;                                   \
    const int at = static_cast<int>(index / H), unit = static_cast<int>(index % H);           \
    const int t = *done + offset;                                                             \
    const Sequence sequence = sequence_at(at, count, order, length, first);                   \
    const Cells cells = {directions, direction, unit};

extern "C" __global__ void begin(
    const Number* h0,         // [D, N, H] or null
    const long long* first,   // [N] row of each sequence's first step
    const int* length,        // [N]
    const int* order,         // [N] the sequences, longest first
    Sum* h,                   // [N, H], sorted: the state
    Number* read,             // [N, H], sorted: h as the product reads it
    Number* h_n,              // [D, N, H]
    int* done, int count, int directions, int direction) {
    if (blockIdx.x == 0 && threadIdx.x == 0) *done = 0;
    const long long index = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x;
    if (index >= static_cast<long long>(count) * H) return;
    const Sequence sequence = sequence_at(static_cast<int>(index / H), count, order, length, first);
    const Cells cells = {directions, direction, static_cast<int>(index % H)};
    const Sum state = h0 == nullptr ? Sum(0) : widen(h0[cells.state(sequence.n, count)]);
    h[index] = state;
    read[index] = narrow(state);
    h_n[cells.state(sequence.n, count)] = narrow(state);  // of a sequence without steps
}

extern "C" __global__ void advance(int* done, int by) { *done += by; }

// Reset-before, first half: r * h for the candidate's product.
extern "C" __global__ void step_reset(
    const Sum* products,  // [N, 3, H]: U h, of r and z
    const Sum* gx, const Sum* b, const long long* first, const int* length, const int* order,
    const Sum* h,         // [N, H]
    Number* read,         // [N, H]: r * h
    const int* done, int offset, int count, int directions, int direction) {
    EACH_UNIT
    if (t >= sequence.length) return;
    const Projection a = load_projection(gx, cells, sequence.row(t, direction));
    const Biases biases = load_biases(b, nullptr, direction, unit);
    read[index] = narrow(reset(a.r + biases.r + products[(at * 3ll + 0) * H + unit], h[index]));
}

extern "C" __global__ void step_forward(
    const Sum* products,  // [N, 3, H]
    const Sum* gx, const Sum* b, const Sum* b_hh, const long long* first, const int* length, const int* order,
    Sum* h,               // [N, H]
    Number* read,         // [N, H]: h
    Number* y, Number* h_n, Number* tape, Number* tape_hh, const int* done, int offset, int count, int directions,
    int direction) {
    EACH_UNIT
    if (t < sequence.length) {
        const long long row = sequence.row(t, direction);
        const Projection a = load_projection(gx, cells, row);
        const Biases biases = load_biases(b, b_hh, direction, unit);
        const Sum* product = products + at * 3ll * H + unit;
        Sum state = h[index];
        const Gates gates = cell(
            a.r + biases.r + product[0], a.z + biases.z + product[H], a.h + biases.h, biases.hh + product[2 * H],
            state);
        store_step(y, tape, tape_hh, cells, row, gates, state);
        h[index] = state;
        read[index] = narrow(state);
        if (t + 1 == sequence.length) h_n[cells.state(sequence.n, count)] = narrow(state);
    } else {
        read[index] = narrow(h[index]);  // over r * h
    }
}

// The way back begins at step total - 1.
extern "C" __global__ void step_backward(
    const Number* tape, const Number* tape_hh, const Number* y, const Number* h0, const Number* dy,
    const long long* first, const int* length, const int* order,
    Sum* dh,              // [N, H]
    Number* slopes,       // [N, 3, H]: what the products read
    Number* da, Number* da_own, Number* previous, const int* done, int offset, int total, int count, int directions,
    int direction) {
    EACH_UNIT
    const int back = total - 1 - t;
    Slopes slope = {0, 0, 0, 0};
    if (back >= 0 && back < sequence.length) {
        const long long row = sequence.row(back, direction);
        const Kept kept = load_kept(tape, tape_hh, y, h0, dy, cells, sequence, back, count);
        const Sum h_prev = widen(kept.h_prev);
        Sum gradient = dh[index] + widen(kept.dy);
        slope = cell_backward(kept.gates(), h_prev, gradient);
        dh[index] = gradient;
        store_slopes(da, da_own, previous, cells, row, slope, widen(kept.r), h_prev);
    }
    Number* own = slopes + at * 3ll * H + unit;
    own[0] = narrow(slope.r);
    own[H] = narrow(slope.z);
    own[2 * H] = narrow(slope.hh);
}

// Reset-before, second half: the slope of r.
extern "C" __global__ void step_backward_reset(
    const Sum* drh,       // [N, H]: the gradient of r * h
    const Number* tape, const Number* y, const Number* h0,
    const long long* first, const int* length, const int* order, Sum* dh, Number* slopes, Number* da, const int* done,
    int offset, int total, int count, int directions, int direction) {
    EACH_UNIT
    const int back = total - 1 - t;
    if (back < 0 || back >= sequence.length) return;
    const long long row = sequence.row(back, direction);
    const Sum h_prev = widen(load_previous(y, h0, cells, sequence, back, count));
    Sum gradient = dh[index];
    const Number slope = narrow(cell_backward_reset(widen(tape[cells.three(row, 0)]), h_prev, drh[index], gradient));
    dh[index] = gradient;
    slopes[at * 3ll * H + unit] = slope;
    da[cells.three(row, 0)] = slope;
}

// Between dh by the sorted place and dh_n, dh0 by the caller's.
extern "C" __global__ void begin_backward(
    const Number* dh_n, const int* order, Sum* dh, int* done, int count, int direction) {
    if (blockIdx.x == 0 && threadIdx.x == 0) *done = 0;
    const long long index = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x;
    if (index >= static_cast<long long>(count) * H) return;
    const long long n = order[index / H];
    dh[index] = dh_n == nullptr ? Sum(0) : widen(dh_n[(static_cast<long long>(direction) * count + n) * H + index % H]);
}

extern "C" __global__ void end_backward(const Sum* dh, const int* order, Number* dh0, int count, int direction) {
    const long long index = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x;
    if (index >= static_cast<long long>(count) * H) return;
    const long long n = order[index / H];
    dh0[(static_cast<long long>(direction) * count + n) * H + index % H] = narrow(dh[index]);
}

#elif !defined(COMMON)

// -- persistent: U stays on the chip for all steps --------------------------------------------------------------------

constexpr int WIDTH = BLOCKS * UNITS;            // units, padding included
constexpr int VECTOR = 16 / sizeof(Operand);     // operands in 16 bytes
constexpr int PITCH = WIDTH + VECTOR;            // of rows in shared memory: neighbours lie in different banks
constexpr int OWN = UNITS * BATCH;               // states that a block computes
constexpr int PAIRS = (OWN + THREADS - 1) / THREADS;
constexpr int PARTIAL_PITCH = UNITS + 4;
constexpr int ARRIVALS_PITCH = 32;               // teams count in cache lines of their own

constexpr int WARPS = THREADS / 32;
constexpr int WEIGHTS = 3 * UNITS * WIDTH;       // operands of a block, in all
#if MATRIX_UNITS
constexpr int STEP_K = 32 / sizeof(Operand);     // k of one mma
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
static_assert(KEPT <= STEPS_SLICE, "no more than there are");
#if MATRIX_UNITS
constexpr int WEIGHTS_SHARED = 3 * TILES * SLICES * (STEPS_SLICE - KEPT) * FRAGMENT;  // of them in shared memory
constexpr int PARTS = SLICES;                    // sums of a product that meet in shared memory
static_assert(UNITS % 16 == 0 && BATCH % 8 == 0, "whole tiles");
static_assert(TILES * SLICES == WARPS, "a warp for each tile of units and slice of k");
#else
constexpr int STEPS_SHARED = KEPT < STEPS_SLICE ? STEPS_K - KEPT * SLICES : 0;  // of a row, those not in registers
constexpr int ROW_SHARED = STEPS_SHARED > 0 ? (STEPS_SHARED + 1) * VECTOR : 0;
constexpr int WEIGHTS_SHARED = 3 * UNITS * ROW_SHARED;
constexpr bool IN_WARP = TILES < 32 && 32 % TILES == 0;  // slices of a tile meet in a warp first
constexpr int PARTS = IN_WARP ? WARPS : SLICES;
static_assert(UNITS % UNIT_TILE == 0 && BATCH % BATCH_TILE == 0, "whole tiles");
static_assert(TILES * SLICES <= THREADS && TILES * SLICES > THREADS - 32, "a thread for each tile and slice of k");
#endif
static_assert(UNITS % VECTOR == 0, "whole vectors are exchanged");

// Shared memory: weights, what products read, staged values (CLUSTER, PACKETS), partial sums.
#ifdef BACKWARD
constexpr int CHANNELS = 3;                      // what is exchanged: da_r, da_z, da_h
#else
constexpr int CHANNELS = RESET_AFTER ? 1 : 2;    // h, r * h
#endif
constexpr bool THROUGH_MEMORY = EXCHANGE == GRID || EXCHANGE == PACKETS;
constexpr int INPUTS = THROUGH_MEMORY ? 1 : 2 * CHANNELS;
constexpr int INPUT = BATCH * PITCH;
constexpr int STAGED = EXCHANGE == CLUSTER || EXCHANGE == PACKETS ? CHANNELS * OWN : 0;
constexpr int PARTIAL = PARTS * BATCH * PARTIAL_PITCH;
constexpr int OPERAND_BYTES = (WEIGHTS_SHARED + INPUTS * INPUT + STAGED) * static_cast<int>(sizeof(Operand));
constexpr int PARTIAL_AT = (OPERAND_BYTES + 15) / 16 * 16;
static_assert(PARTIAL_AT + 3 * PARTIAL * static_cast<int>(sizeof(Sum)) == SHARED_BYTES, "forms.py reckons otherwise");

// What block `rank` of a team keeps of U (3, H, H): unit j of gate `set` as products read it at k.
__device__ __forceinline__ Operand weight(const Number* u, int set, int unit, int k) {
    if (unit >= H || k >= H) return operand(Sum(0));
#ifdef BACKWARD
    return operand(widen(u[(static_cast<long long>(set) * H + k) * H + unit]));
#else
    return operand(widen(u[(static_cast<long long>(set) * H + unit) * H + k]));
#endif
}

// Put U in the order in which blocks keep it: [D, BLOCKS, WEIGHTS]. One thread for each number.
extern "C" __global__ void pack(
    const Number* u,   // [D, 3, H, H]
    Operand* packed, int directions) {
    const long long index = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x;
    if (index >= static_cast<long long>(directions) * BLOCKS * WEIGHTS) return;
    const int direction = static_cast<int>(index / (static_cast<long long>(BLOCKS) * WEIGHTS));
    const int rank = static_cast<int>(index / WEIGHTS % BLOCKS);
    int rest = static_cast<int>(index % WEIGHTS);
#if MATRIX_UNITS
    // [set][step of k][tile][lane][4 registers][operands of a register]
    constexpr int EACH = 4 / sizeof(Operand);
    const int part = rest % EACH, place = rest / EACH % 4, lane = rest / EACH / 4 % 32;
    rest /= FRAGMENT;
    const int tile = rest % TILES, step = rest / TILES % STEPS_K, set = rest / TILES / STEPS_K;
    const int unit = tile * 16 + lane / 4 + place % 2 * 8;
    const int k = step * STEP_K + lane % 4 * EACH + part + place / 2 * (STEP_K / 2);
#else
    // [set][unit][k]
    const int k = rest % WIDTH, unit = rest / WIDTH % UNITS, set = rest / WIDTH / UNITS;
#endif
    packed[index] = weight(u + direction * 3ll * H * H, set, rank * UNITS + unit, k);
}

// The blocks that walk the same sequences, and this block's place among them.
struct Team {
    int index, rank, teams;

    __device__ Team() {
        index = blockIdx.x / BLOCKS;
#if EXCHANGE == CLUSTER
        rank = cluster_rank();
#else
        rank = blockIdx.x % BLOCKS;
#endif
        teams = gridDim.x / BLOCKS;
    }
};

// Packets of 16 bytes carry some words of what a block publishes, and the turn in which it does: who sees the turn has the
// rest too. No barrier is needed, and no fence (the idea is that of the LL protocol in NVIDIA's NCCL).
constexpr unsigned ROW_WORDS = UNITS * sizeof(Operand) / 4;            // of the block's units of one sequence
constexpr unsigned PACKET_WORDS = sizeof(Operand) == 8 ? 2 : 3;        // whole operands
constexpr unsigned PACKETS_ROW = (ROW_WORDS + PACKET_WORDS - 1) / PACKET_WORDS;
constexpr unsigned PACKETS_BLOCK = BATCH * PACKETS_ROW;

// How the blocks of a team give each other what products read. Everything that is published in a turn has been read
// before the turn after the next: two buffers do.
struct Exchange {
    Operand* inputs;    // in shared memory: [INPUTS][BATCH][PITCH]
    Operand* staged;    // in shared memory: [CHANNELS][BATCH][UNITS]
    Operand* published; // in global memory, of this team: [CHANNELS][2][BATCH][WIDTH], or
    uint4* packets;     // [CHANNELS][2][BLOCKS][PACKETS_BLOCK]
    unsigned* arrivals; // of this team
    unsigned awaited;
    int rank;

    __device__ __forceinline__ Operand* input(int channel, int turn) const {
        return inputs + (channel * 2 + (turn & 1)) * INPUT;
    }
    __device__ __forceinline__ uint4* packets_of(int channel, int turn) const {
        return packets + (channel * 2 + (turn & 1)) * BLOCKS * PACKETS_BLOCK;
    }
    __device__ __forceinline__ Operand* global(int channel, int turn) const {
        return published + static_cast<long long>(channel * 2 + (turn & 1)) * BATCH * WIDTH;
    }

    __device__ __forceinline__ void begin() {
#if EXCHANGE == CLUSTER
        cluster_arrive();  // nobody writes to a block that has not begun
        cluster_wait();
#endif
    }

    __device__ __forceinline__ void publish(int channel, int turn, int unit, int batch, Operand value) {
#if EXCHANGE == BLOCK
        input(channel, turn)[batch * PITCH + unit] = value;
#elif EXCHANGE == CLUSTER || EXCHANGE == PACKETS
        staged[(channel * BATCH + batch) * UNITS + unit] = value;
#else
        global(channel, turn)[batch * WIDTH + rank * UNITS + unit] = value;
#endif
    }

    // To be called by all threads after `publish` of channels first to last.
    __device__ __forceinline__ void arrive(int first, int last, int turn) {
#if EXCHANGE == CLUSTER
        __syncthreads();
        constexpr unsigned ROW = UNITS / VECTOR;
        const unsigned vectors = (last - first + 1) * BATCH * ROW;
        for (unsigned i = threadIdx.x; i < vectors * BLOCKS; i += THREADS) {
            const unsigned peer = i % BLOCKS, part = i / BLOCKS % ROW, batch = i / BLOCKS / ROW % BATCH;
            const unsigned channel = first + i / BLOCKS / ROW / BATCH;
            Operand* own = input(channel, turn) + batch * PITCH + rank * UNITS + part * VECTOR;
            const Operand* from = staged + (channel * BATCH + batch) * UNITS + part * VECTOR;
            store_remote(cluster_map(own, peer), *reinterpret_cast<const uint4*>(from));
        }
        cluster_arrive();
#elif EXCHANGE == GRID
        __syncthreads();
        if (threadIdx.x == 0) add_release(arrivals, 1);
        awaited += BLOCKS;
#elif EXCHANGE == PACKETS
        __syncthreads();
        for (unsigned i = threadIdx.x; i < (last - first + 1) * PACKETS_BLOCK; i += THREADS) {
            const unsigned row = i / PACKETS_ROW, part = i % PACKETS_ROW, channel = first + row / BATCH, batch = row % BATCH;
            const unsigned* from =
                reinterpret_cast<const unsigned*>(staged) + (channel * BATCH + batch) * ROW_WORDS + part * PACKET_WORDS;
            unsigned words[3] = {0, 0, 0};
#pragma unroll
            for (unsigned j = 0; j < PACKET_WORDS; j++) {
                if (in_row(part, j)) words[j] = from[j];
            }
            store_packet(
                packets_of(channel, turn) + rank * PACKETS_BLOCK + batch * PACKETS_ROW + part,
                make_uint4(words[0], words[1], words[2], turn + 1));  // 0 is what memory holds before the first turn
        }
#endif
    }

    __device__ __forceinline__ void wait() const {
#if EXCHANGE == BLOCK || EXCHANGE == PACKETS && !RESET_AFTER
        __syncthreads();  // PACKETS: of two exchanges in a step, the second is written over what the first has given
#elif EXCHANGE == CLUSTER
        cluster_wait();
#elif EXCHANGE == GRID
        if (threadIdx.x == 0) {
            while (static_cast<int>(load_acquire(arrivals) - awaited) < 0) {
            }
        }
        __syncthreads();
#endif
    }

    // Loads that a thread has under way at the same time, of so many.
    __device__ static constexpr unsigned at_once(unsigned count) { return count < 8 ? count : 8; }

    // Whether a word of a packet is still one of its row.
    __device__ __forceinline__ static bool in_row(unsigned part, unsigned word) {
        return ROW_WORDS % PACKET_WORDS == 0 || part * PACKET_WORDS + word < ROW_WORDS;
    }

    // What has been published, as products read it. Nobody may still read what an earlier call gave.
    __device__ __forceinline__ const Operand* read(int channel, int turn) const {
#if EXCHANGE == GRID
        constexpr unsigned ROW = WIDTH / VECTOR, AT_ONCE = at_once((BATCH * ROW + THREADS - 1) / THREADS);
        const uint4* from = reinterpret_cast<const uint4*>(global(channel, turn));
        for (unsigned start = threadIdx.x; start < BATCH * ROW; start += AT_ONCE * THREADS) {
            uint4 loaded[AT_ONCE];
#pragma unroll
            for (unsigned j = 0; j < AT_ONCE; j++) {
                const unsigned i = start + j * THREADS;
                if (i < BATCH * ROW) loaded[j] = load_shared_by_all(from + i);
            }
#pragma unroll
            for (unsigned j = 0; j < AT_ONCE; j++) {
                const unsigned i = start + j * THREADS;
                if (i < BATCH * ROW) *reinterpret_cast<uint4*>(inputs + i / ROW * PITCH + i % ROW * VECTOR) = loaded[j];
            }
        }
        __syncthreads();
        return inputs;
#elif EXCHANGE == PACKETS
        // A thread takes the same packet of some blocks, whose places are then constants apart.
        constexpr unsigned GROUP = PACKETS_BLOCK < THREADS ? PACKETS_BLOCK : THREADS, GROUPS = THREADS / GROUP;
        constexpr unsigned AT_ONCE = at_once((BLOCKS + GROUPS - 1) / GROUPS);
        const unsigned first = threadIdx.x / GROUP < GROUPS ? threadIdx.x / GROUP : BLOCKS;
        for (unsigned i = threadIdx.x % GROUP; i < PACKETS_BLOCK; i += GROUP) {
            const unsigned batch = i / PACKETS_ROW, part = i % PACKETS_ROW;
            const uint4* from = packets_of(channel, turn) + i;
            unsigned* to = reinterpret_cast<unsigned*>(inputs + batch * PITCH) + part * PACKET_WORDS;
            for (unsigned start = first; start < BLOCKS; start += AT_ONCE * GROUPS) {
                uint4 loaded[AT_ONCE];
#pragma unroll
                for (unsigned j = 0; j < AT_ONCE; j++) {
                    const unsigned block = start + j * GROUPS;
                    if (block < BLOCKS) loaded[j] = load_packet(from + block * PACKETS_BLOCK);
                }
#pragma unroll
                for (unsigned j = 0; j < AT_ONCE; j++) {
                    const unsigned block = start + j * GROUPS;
                    if (block >= BLOCKS) break;
                    while (loaded[j].w != turn + 1) loaded[j] = load_packet(from + block * PACKETS_BLOCK);
                    const unsigned words[3] = {loaded[j].x, loaded[j].y, loaded[j].z};
#pragma unroll
                    for (unsigned word = 0; word < PACKET_WORDS; word++) {
                        if (in_row(part, word)) to[block * ROW_WORDS + word] = words[word];
                    }
                }
            }
        }
        __syncthreads();
        return inputs;
#else
        return input(channel, turn);
#endif
    }
};

// Products of the kept weights with what was exchanged: of each slice of k its partial sums.
struct Products {
    const Operand* shared;  // weights in shared memory
    Sum* partial;           // in shared memory: [3][PARTS][BATCH][PARTIAL_PITCH]

#if MATRIX_UNITS
    uint4 kept[3][KEPT > 0 ? KEPT : 1];

    __device__ __forceinline__ static int slice() { return threadIdx.x / 32 / TILES; }
    __device__ __forceinline__ static int tile() { return threadIdx.x / 32 % TILES; }

    __device__ __forceinline__ void load(const Operand* packed, Operand* to) {
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
                if (i < KEPT) {
                    kept[set][i < KEPT ? i : 0] = fragment;
                } else {
                    reinterpret_cast<uint4*>(to)[place(set, i) + lane] = fragment;
                }
            }
        }
        __syncthreads();
    }

    // Of a fragment in shared memory, in lanes.
    __device__ __forceinline__ static int place(int set, int i) {
        return ((set * (STEPS_SLICE - KEPT) + i - KEPT) * WARPS + static_cast<int>(threadIdx.x) / 32) * 32;
    }

    template <int SETS>
    struct Sums {
        float at[SETS][BATCH / 8][4] = {};
    };

    // sums += fragments of a step of k, times its part of the input, which begins at `column` of this lane.
    template <int SETS>
    __device__ __forceinline__ static void multiply_step(
        Sums<SETS>& sums, const uint4 (&fragments)[SETS], const Operand* column) {
        for (int n = 0; n < BATCH / 8; n++) {
            const unsigned b[2] = {*reinterpret_cast<const unsigned*>(column + n * 8 * PITCH),
                                   *reinterpret_cast<const unsigned*>(column + n * 8 * PITCH + STEP_K / 2)};
            for (int set = 0; set < SETS; set++) {
                const unsigned a[4] = {fragments[set].x, fragments[set].y, fragments[set].z, fragments[set].w};
#if PRECISION == TF32
                mma_m16n8k8_tf32(sums.at[set][n], a, b);
#elif PRECISION == FLOAT16
                mma_m16n8k16_f16(sums.at[set][n], a, b);
#else
                mma_m16n8k16_bf16(sums.at[set][n], a, b);
#endif
            }
        }
    }

    // sums += rows of the gates FIRST and on, times input (BATCH, k).
    template <int FIRST, int SETS>
    __device__ __forceinline__ void multiply(Sums<SETS>& sums, const Operand* input) const {
        __syncwarp();  // an mma is for whole warps
        const int lane = threadIdx.x % 32;
        // Operands 2i and 2i+1 (half), or i (tf32), and those half a step further.
        const Operand* column = input + lane / 4 * PITCH + lane % 4 * (4 / static_cast<int>(sizeof(Operand)));
        uint4 fragments[SETS];
#pragma unroll
        for (int i = 0; i < KEPT; i++) {
            const int step = i * SLICES + slice();
            if (step >= STEPS_K) break;
            for (int set = 0; set < SETS; set++) fragments[set] = kept[FIRST + set][i];
            multiply_step(sums, fragments, column + step * STEP_K);
        }
#pragma unroll 4
        for (int i = KEPT; i < STEPS_SLICE; i++) {
            const int step = i * SLICES + slice();
            if (step >= STEPS_K) break;
            for (int set = 0; set < SETS; set++) {
                fragments[set] = reinterpret_cast<const uint4*>(shared)[place(FIRST + set, i) + lane];
            }
            multiply_step(sums, fragments, column + step * STEP_K);
        }
    }

    template <int FIRST, int SETS>
    __device__ __forceinline__ void store(const Sums<SETS>& sums) const {
        const int lane = threadIdx.x % 32;
        for (int set = 0; set < SETS; set++) {
            for (int n = 0; n < BATCH / 8; n++) {
                for (int i = 0; i < 4; i++) {
                    const int unit = tile() * 16 + lane / 4 + i / 2 * 8, batch = n * 8 + lane % 4 * 2 + i % 2;
                    at(FIRST + set, slice(), batch, unit) = sums.at[set][n][i];
                }
            }
        }
    }
#else
    struct alignas(16) Vector {
        Operand at[VECTOR];
    };

    Vector kept[3][UNIT_TILE][KEPT > 0 ? KEPT : 1];

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

    __device__ __forceinline__ void load(const Operand* packed, Operand* to) {
        shared = to;
        for (int row = threadIdx.x / 32; row < 3 * UNITS; row += WARPS) {
            for (int step = threadIdx.x % 32; step < STEPS_SHARED; step += 32) {
                const Vector last = vector(packed + row * WIDTH + (KEPT * SLICES + step) * VECTOR);
                *reinterpret_cast<Vector*>(to + row * ROW_SHARED + step * VECTOR) = last;
            }
        }
#pragma unroll
        for (int i = 0; i < KEPT; i++) {
            if (slice() >= SLICES || !is_step(i)) break;
            for (int set = 0; set < 3; set++) {
                for (int j = 0; j < UNIT_TILE; j++) {
                    kept[set][j][i] = vector(packed + (set * UNITS + unit(j)) * WIDTH + (i * SLICES + slice()) * VECTOR);
                }
            }
        }
        __syncthreads();
    }

    template <int SETS>
    struct Sums {
        Sum at[SETS][UNIT_TILE][BATCH_TILE] = {};
    };

    // sums += rows of the gates FIRST and on, times input (BATCH, k).
    template <int FIRST, int SETS>
    __device__ __forceinline__ void multiply(Sums<SETS>& sums, const Operand* input) const {
        if (slice() >= SLICES) return;
#pragma unroll
        for (int i = 0; i < KEPT; i++) {
            if (!is_step(i)) break;
            const Operand* column = input + (i * SLICES + slice()) * VECTOR;
            multiply_step(sums, column, [&](int set, int j) { return kept[FIRST + set][j][i]; });
        }
#pragma unroll 2
        for (int i = KEPT; i < STEPS_SLICE; i++) {
            if (!is_step(i)) break;
            const Operand* row = shared + FIRST * UNITS * ROW_SHARED + ((i - KEPT) * SLICES + slice()) * VECTOR;
            const Operand* column = input + (i * SLICES + slice()) * VECTOR;
            multiply_step(sums, column, [&](int set, int j) { return vector(row + (set * UNITS + unit(j)) * ROW_SHARED); });
        }
    }

    // sums += weights of a step of k, row(set, j), times its part of the input, which begins at `column`.
    template <int SETS, class Row>
    __device__ __forceinline__ static void multiply_step(Sums<SETS>& sums, const Operand* column, Row row) {
        Vector columns[BATCH_TILE];
        for (int n = 0; n < BATCH_TILE; n++) columns[n] = vector(column + batch(n) * PITCH);
        for (int set = 0; set < SETS; set++) {
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

    __device__ __forceinline__ Sum& at(int set, int part, int batch, int unit) const {
        return partial[(set * PARTS + part) * (BATCH * PARTIAL_PITCH) + batch * PARTIAL_PITCH + unit];
    }

    // The sum over all parts, always in the same order.
    __device__ __forceinline__ Sum total(int set, int batch, int unit) const {
        Sum sum = at(set, 0, batch, unit);
        for (int part = 1; part < PARTS; part++) sum += at(set, part, batch, unit);
        return sum;
    }

    template <int FIRST, int SETS>
    __device__ __forceinline__ void product(const Operand* input) const {
        Sums<SETS> sums;
        multiply<FIRST, SETS>(sums, input);
        store<FIRST, SETS>(sums);
    }
};

// A state that a thread computes: its unit in the block, its sequence in the team's.
struct Owned {
    bool real;  // neither beyond the block's, nor padding
    bool mine;
    int unit, batch;
    Sequence sequence;
    Cells cells;
};

__device__ __forceinline__ Owned owned(
    int i, int tile, const Team& team, int directions, int direction, int count, const int* order, const int* length,
    const long long* first) {
    const int index = threadIdx.x + i * THREADS;
    Owned own;
    own.mine = index < OWN;
    own.unit = index % UNITS;
    own.batch = index / UNITS;
    own.sequence = sequence_at(own.mine ? tile * BATCH + own.batch : count, count, order, length, first);
    own.cells = Cells{directions, direction, team.rank * UNITS + own.unit};
    own.real = own.sequence.n >= 0 && own.cells.unit < H;
    return own;
}

// Shared memory and exchange of a block, weights loaded.
__device__ __forceinline__ void prepare(
    Products& products, Exchange& exchange, const Team& team, int direction, const Operand* packed, void* published,
    unsigned* arrivals) {
    Operand* operands = reinterpret_cast<Operand*>(dynamic_shared());
    products.partial = reinterpret_cast<Sum*>(dynamic_shared() + PARTIAL_AT);
    products.load(packed + (static_cast<long long>(direction) * BLOCKS + team.rank) * WEIGHTS, operands);
    exchange.inputs = operands + WEIGHTS_SHARED;
    exchange.staged = exchange.inputs + INPUTS * INPUT;
    exchange.published = static_cast<Operand*>(published) + team.index * (CHANNELS * 2ll * BATCH * WIDTH);
    exchange.packets = static_cast<uint4*>(published) + team.index * (CHANNELS * 2ll * BLOCKS * PACKETS_BLOCK);
    exchange.arrivals = arrivals + team.index * ARRIVALS_PITCH;
    exchange.awaited = 0;
    exchange.rank = team.rank;
    exchange.begin();
}

#ifndef BACKWARD

// Of step t, where there is one.
__device__ __forceinline__ void load_projections(
    Projection (&into)[PAIRS], const Sum* gx, const Owned (&own)[PAIRS], int t, int direction) {
#pragma unroll
    for (int i = 0; i < PAIRS; i++) {
        into[i] = Projection{0, 0, 0};
        if (own[i].real && t < own[i].sequence.length) {
            into[i] = load_projection(gx, own[i].cells, own[i].sequence.row(t, direction));
        }
    }
}

// All steps of all sequences. Team i walks in direction i % D. In every step it multiplies U with h of its sequences,
// sums the slices, computes the new states and exchanges them.
extern "C" __global__ void CLUSTERED __launch_bounds__(THREADS, 1) walk_forward(
    const Operand* packed,   // [D, BLOCKS, WEIGHTS] of `pack`
    const Sum* gx,           // [S, D, 3, H]: W x
    const Sum* b,            // [D, 3, H] or null
    const Sum* b_hh,         // [D, H] or null
    const Number* h0,        // [D, N, H] or null
    const long long* first,  // [N] row of each sequence's first step
    const int* length,       // [N]
    const int* order,        // [N] the sequences, longest first
    Number* y,               // [S, D, H]
    Number* h_n,             // [D, N, H]
    Number* tape,            // [S, D, 3, H]: r, z, h~, or null
    Number* tape_hh,         // [S, D, H]: U_hh h + b_hh, reset-after, or null
    void* published,         // what blocks exchange through memory, of all teams; zeroed for PACKETS
    unsigned* arrivals,      // [teams, ARRIVALS_PITCH], zeroed, GRID
    int count, int directions) {
    const Team team;
    const int direction = team.index % directions;
    Products products;
    Exchange exchange;
    prepare(products, exchange, team, direction, packed, published, arrivals);

    int turn = 0;
    for (int tile = team.index / directions; tile * BATCH < count; tile += team.teams / directions) {
        const int steps = length[order[tile * BATCH]];
        Owned own[PAIRS];
        Biases biases[PAIRS];
        Sum h[PAIRS];
#pragma unroll
        for (int i = 0; i < PAIRS; i++) {
            own[i] = owned(i, tile, team, directions, direction, count, order, length, first);
            biases[i] = Biases{0, 0, 0, 0};
            h[i] = 0;
            if (own[i].real) {
                biases[i] = load_biases(b, b_hh, direction, own[i].cells.unit);
                if (h0 != nullptr) h[i] = widen(h0[own[i].cells.state(own[i].sequence.n, count)]);
            }
            if (own[i].mine && steps > 0) exchange.publish(0, turn, own[i].unit, own[i].batch, operand(h[i]));
        }
        if (steps > 0) exchange.arrive(0, 0, turn);  // what nobody reads must not be published over what some may
        Projection next[PAIRS];  // of the step to come: memory is far
        load_projections(next, gx, own, 0, direction);

        for (int t = 0; t < steps; t++, turn++) {
            Projection a[PAIRS];
#pragma unroll
            for (int i = 0; i < PAIRS; i++) a[i] = next[i];
            exchange.wait();
            load_projections(next, gx, own, t + 1, direction);
            const Operand* input = exchange.read(0, turn);
#if RESET_AFTER
            products.product<0, 3>(input);
#else
            products.product<0, 1>(input);
            __syncthreads();
#pragma unroll
            for (int i = 0; i < PAIRS; i++) {
                if (!own[i].mine) continue;
                const Sum rh = reset(a[i].r + biases[i].r + products.total(0, own[i].batch, own[i].unit), h[i]);
                exchange.publish(1, turn, own[i].unit, own[i].batch, operand(rh));
            }
            exchange.arrive(1, 1, turn);
            products.product<1, 1>(input);  // while the others come
            exchange.wait();
            products.product<2, 1>(exchange.read(1, turn));
#endif
            __syncthreads();
#pragma unroll
            for (int i = 0; i < PAIRS; i++) {
                if (!own[i].mine) continue;
                if (own[i].real && t < own[i].sequence.length) {
                    const int batch = own[i].batch, unit = own[i].unit;
                    const Gates gates = cell(
                        a[i].r + biases[i].r + products.total(0, batch, unit),
                        a[i].z + biases[i].z + products.total(1, batch, unit), a[i].h + biases[i].h,
                        biases[i].hh + products.total(2, batch, unit), h[i]);
                    store_step(y, tape, tape_hh, own[i].cells, own[i].sequence.row(t, direction), gates, h[i]);
                }
                if (t + 1 < steps) exchange.publish(0, turn + 1, own[i].unit, own[i].batch, operand(h[i]));
            }
            if (t + 1 < steps) exchange.arrive(0, 0, turn + 1);
        }
#pragma unroll
        for (int i = 0; i < PAIRS; i++) {
            if (own[i].real) h_n[own[i].cells.state(own[i].sequence.n, count)] = narrow(h[i]);
        }
    }
}

#else  // BACKWARD

// Of step t, where there is one.
__device__ __forceinline__ void load_all_kept(
    Kept (&into)[PAIRS], const Number* tape, const Number* tape_hh, const Number* y, const Number* h0, const Number* dy,
    const Owned (&own)[PAIRS], int t, int count) {
#pragma unroll
    for (int i = 0; i < PAIRS; i++) {
        if (own[i].real && t >= 0 && t < own[i].sequence.length) {
            into[i] = load_kept(tape, tape_hh, y, h0, dy, own[i].cells, own[i].sequence, t, count);
        }
    }
}

// The way back through all steps of all sequences, for the gradients dy and dh_n. Only dh is carried from step to step;
// the gradients of the weights and of x are products of what is stored here.
extern "C" __global__ void CLUSTERED __launch_bounds__(THREADS, 1) walk_backward(
    const Operand* packed,   // [D, BLOCKS, WEIGHTS] of `pack`
    const Number* tape,      // [S, D, 3, H]
    const Number* tape_hh,   // [S, D, H], reset-after
    const Number* y,         // [S, D, H]
    const Number* h0,        // [D, N, H] or null
    const Number* dy,        // [S, D, H] or null
    const Number* dh_n,      // [D, N, H] or null
    const long long* first, const int* length, const int* order,
    Number* da,              // [S, D, 3, H], zeroed where there are rows of no sequence
    Number* da_own,          // [S, D, H], likewise
    Number* previous,        // [S, D, H], likewise
    Number* dh0,             // [D, N, H]
    void* published,         // what blocks exchange through memory, of all teams; zeroed for PACKETS
    unsigned* arrivals,      // [teams, ARRIVALS_PITCH], zeroed, GRID
    int count, int directions) {
    const Team team;
    const int direction = team.index % directions;
    Products products;
    Exchange exchange;
    prepare(products, exchange, team, direction, packed, published, arrivals);

    int turn = 0;
    for (int tile = team.index / directions; tile * BATCH < count; tile += team.teams / directions) {
        const int steps = length[order[tile * BATCH]];
        Owned own[PAIRS];
        Sum dh[PAIRS];
#pragma unroll
        for (int i = 0; i < PAIRS; i++) {
            own[i] = owned(i, tile, team, directions, direction, count, order, length, first);
            dh[i] = 0;
            if (own[i].real && dh_n != nullptr) dh[i] = widen(dh_n[own[i].cells.state(own[i].sequence.n, count)]);
        }
        Kept next[PAIRS];  // of the step to come: memory is far
        load_all_kept(next, tape, tape_hh, y, h0, dy, own, steps - 1, count);

        for (int t = steps - 1; t >= 0; t--, turn++) {
            Slopes slopes[PAIRS];
            Sum r[PAIRS], h_prev[PAIRS];
#pragma unroll
            for (int i = 0; i < PAIRS; i++) {
                slopes[i] = Slopes{0, 0, 0, 0};
                r[i] = h_prev[i] = 0;
                if (own[i].real && t < own[i].sequence.length) {
                    const long long row = own[i].sequence.row(t, direction);
                    h_prev[i] = widen(next[i].h_prev);
                    r[i] = widen(next[i].r);
                    dh[i] += widen(next[i].dy);
                    slopes[i] = cell_backward(next[i].gates(), h_prev[i], dh[i]);
#if RESET_AFTER
                    store_slopes(da, da_own, previous, own[i].cells, row, slopes[i], r[i], h_prev[i]);
#endif
                }
                if (!own[i].mine) continue;
#if RESET_AFTER
                exchange.publish(0, turn, own[i].unit, own[i].batch, operand(slopes[i].r));
#endif
                exchange.publish(1, turn, own[i].unit, own[i].batch, operand(slopes[i].z));
                exchange.publish(2, turn, own[i].unit, own[i].batch, operand(slopes[i].hh));
            }
            exchange.arrive(RESET_AFTER ? 0 : 1, 2, turn);
            load_all_kept(next, tape, tape_hh, y, h0, dy, own, t - 1, count);
            exchange.wait();
            Products::Sums<1> sums;
#if RESET_AFTER
            products.multiply<0, 1>(sums, exchange.read(0, turn));
            if (THROUGH_MEMORY) __syncthreads();  // before the inputs are written over
            products.multiply<1, 1>(sums, exchange.read(1, turn));
            if (THROUGH_MEMORY) __syncthreads();  // before the inputs are written over
            products.multiply<2, 1>(sums, exchange.read(2, turn));
#else
            products.product<2, 1>(exchange.read(2, turn));
            __syncthreads();
#pragma unroll
            for (int i = 0; i < PAIRS; i++) {
                if (!own[i].mine) continue;
                if (own[i].real && t < own[i].sequence.length) {
                    const Sum drh = products.total(2, own[i].batch, own[i].unit);
                    slopes[i].r = cell_backward_reset(r[i], h_prev[i], drh, dh[i]);
                    const long long row = own[i].sequence.row(t, direction);
                    store_slopes(da, da_own, previous, own[i].cells, row, slopes[i], r[i], h_prev[i]);
                }
                exchange.publish(0, turn, own[i].unit, own[i].batch, operand(slopes[i].r));
            }
            exchange.arrive(0, 0, turn);
            products.multiply<1, 1>(sums, exchange.read(1, turn));  // while the others come
            exchange.wait();
            products.multiply<0, 1>(sums, exchange.read(0, turn));
#endif
            products.store<0, 1>(sums);
            __syncthreads();
#pragma unroll
            for (int i = 0; i < PAIRS; i++) {
                if (own[i].mine) dh[i] += products.total(0, own[i].batch, own[i].unit);
            }
        }
#pragma unroll
        for (int i = 0; i < PAIRS; i++) {
            if (own[i].real) dh0[own[i].cells.state(own[i].sequence.n, count)] = narrow(dh[i]);
        }
    }
}

#endif  // BACKWARD
#endif  // neither STEPS nor COMMON
