// -- layer norm: the sums of a reset-after cell with layer normalisation (Ba et al. 2016), a block for each row ---------
// They lie between the library's products and the kernels of single steps, which are then those of a plain cell.

#ifdef LAYER_NORM

constexpr int ROW = 3 * H;  // all sums of a step, which are normalised together

// The sum over the threads of a block, a power of two, in a fixed order.
__device__ __forceinline__ Sum block_sum(Sum value) {
    Sum* partial = reinterpret_cast<Sum*>(dynamic_shared());  // [threads of a block]
    partial[threadIdx.x] = value;
    __syncthreads();
    for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) partial[threadIdx.x] += partial[threadIdx.x + half];
        __syncthreads();
    }
    const Sum sum = partial[0];
    __syncthreads();  // before the next sum overwrites it
    return sum;
}

__device__ __forceinline__ float square_root(float a) { return sqrtf(a); }
__device__ __forceinline__ double square_root(double a) { return sqrt(a); }

// a * b + c in one rounding, since the compiler might choose another one with a tape than without.
__device__ __forceinline__ float fused(float a, float b, float c) { return fmaf(a, b, c); }
__device__ __forceinline__ double fused(double a, double b, double c) { return fma(a, b, c); }

// sums = g * norm(sums + added) + b, and added = 0. Each thread reads only what it has written itself.
__device__ __forceinline__ void normalise(
    Sum* sums,           // [ROW]
    Sum* added,          // [ROW] or null
    const Sum* g,        // [ROW]
    const Sum* b,        // [ROW] or null
    Number* normalised,  // [ROW] or null: kept for the backward pass
    Sum* scale)          // [1] or null: 1 / sqrt(variance + epsilon), likewise
{
    Sum total = 0;
    for (int i = threadIdx.x; i < ROW; i += blockDim.x) {
        if (added != nullptr) {
            sums[i] += added[i];
            added[i] = 0;
        }
        total += sums[i];
    }
    const Sum mean = block_sum(total) / ROW;
    Sum squares = 0;
    for (int i = threadIdx.x; i < ROW; i += blockDim.x) squares += (sums[i] - mean) * (sums[i] - mean);
    const Sum factor = Sum(1) / square_root(block_sum(squares) / ROW + Sum(LAYER_NORM));
    for (int i = threadIdx.x; i < ROW; i += blockDim.x) {
        const Sum value = (sums[i] - mean) * factor;
        if (normalised != nullptr) normalised[i] = narrow(value);
        sums[i] = fused(g[i], value, b == nullptr ? Sum(0) : b[i]);
    }
    if (scale != nullptr && threadIdx.x == 0) *scale = factor;
}

// d, of what `normalise` has written, becomes the gradient of the sums that it has read.
__device__ __forceinline__ void normalise_backward(
    Number* d,                 // [ROW]
    Number* copy,              // [ROW] or null: d again
    const Sum* g,              // [ROW]
    const Number* normalised,  // [ROW]
    Sum scale)
{
    Sum total = 0, slope = 0;
    for (int i = threadIdx.x; i < ROW; i += blockDim.x) {
        const Sum gradient = widen(d[i]) * g[i];
        total += gradient;
        slope += gradient * widen(normalised[i]);
    }
    const Sum mean = block_sum(total) / ROW;
    slope = block_sum(slope) / ROW;
    for (int i = threadIdx.x; i < ROW; i += blockDim.x) {
        d[i] = narrow((widen(d[i]) * g[i] - mean - widen(normalised[i]) * slope) * scale);
        if (copy != nullptr) copy[i] = d[i];
    }
}

// Of all rows at once: block i has row i / D of direction i % D.
extern "C" __global__ void normalise_rows(
    Sum* gx,             // [S, D, 3, H]: W x
    const Sum* g,        // [D, 3, H]
    Number* normalised,  // [S, D, 3, H] or null
    Sum* scales,         // [S, D] or null
    int directions) {
    const long long at = static_cast<long long>(blockIdx.x) * ROW;
    normalise(
        gx + at, nullptr, g + blockIdx.x % directions * ROW, nullptr, normalised == nullptr ? nullptr : normalised + at,
        scales == nullptr ? nullptr : scales + blockIdx.x);
}

extern "C" __global__ void normalise_rows_backward(
    Number* d,                 // [S, D, 3, H]
    const Sum* g,              // [D, 3, H]
    const Number* normalised,  // [S, D, 3, H]
    const Sum* scales,         // [S, D]
    int directions) {
    const long long at = static_cast<long long>(blockIdx.x) * ROW;
    normalise_backward(d + at, nullptr, g + blockIdx.x % directions * ROW, normalised + at, scales[blockIdx.x]);
}

// Of step t, as in `stepwise.cuh`: block i has sequence i among the sorted.
extern "C" __global__ void step_normalise(
    Sum* products,           // [N, 3, H]: U h
    Sum* gx,                 // [S, D, 3, H]: W x where the sum of both is normalised, else null
    const Sum* g,            // [D, 3, H]
    const Sum* b,            // [D, 3, H] or null
    const long long* first,  // [N]
    const int* length,       // [N]
    const int* order,        // [N]
    Number* normalised,      // [S, D, 3, H] or null
    Sum* scales,             // [S, D] or null
    const int* done,         // [1]
    int offset, int count, int directions, int direction) {
    const int t = *done + offset;
    const Sequence sequence = sequence_at(blockIdx.x, count, order, length, first);
    if (t >= sequence.length) return;
    const long long row = sequence.row(t, direction) * directions + direction;
    normalise(
        products + static_cast<long long>(blockIdx.x) * ROW, gx == nullptr ? nullptr : gx + row * ROW,
        g + direction * ROW, b == nullptr ? nullptr : b + direction * ROW,
        normalised == nullptr ? nullptr : normalised + row * ROW, scales == nullptr ? nullptr : scales + row);
}

extern "C" __global__ void step_normalise_backward(
    Number* read,              // [N, 3, H], sorted: gradients of the gates, then of U h
    Number* du,                // [S, D, 3, H]: the latter
    const Sum* g,              // [D, 3, H]
    const Number* normalised,  // [S, D, 3, H]
    const Sum* scales,         // [S, D]
    const long long* first,    // [N]
    const int* length,         // [N]
    const int* order,          // [N]
    const int* done,           // [1]
    int offset, int total, int count, int directions, int direction) {
    const int back = total - 1 - *done - offset;
    const Sequence sequence = sequence_at(blockIdx.x, count, order, length, first);
    if (back < 0 || back >= sequence.length) return;
    const long long row = sequence.row(back, direction) * directions + direction;
    normalise_backward(
        read + static_cast<long long>(blockIdx.x) * ROW, du + row * ROW, g + direction * ROW, normalised + row * ROW,
        scales[row]);
}

#endif  // LAYER_NORM
