// -- merge: the outputs of two directions as one ----------------------------------------------------------------------

#ifdef COMMON

// As KINDS on the host.
enum class Merge { SUM, MEAN, PRODUCT };

// One thread for each number of y.
extern "C" __global__ void merge(
    const Number* states,  // [S, 2, H]
    Number* y,             // [S, H]
    long long size, int hidden, int kind) {
    const long long index = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x;
    if (index >= size) return;
    const Number* both = states + index / hidden * 2 * hidden + index % hidden;
    const Sum forward = widen(both[0]), reverse = widen(both[hidden]);
    Sum merged = forward + reverse;
    if (kind == static_cast<int>(Merge::MEAN)) merged *= Sum(0.5);
    if (kind == static_cast<int>(Merge::PRODUCT)) merged = forward * reverse;
    y[index] = narrow(merged);
}

// And for each of dy.
extern "C" __global__ void merge_backward(
    const Number* states,  // [S, 2, H]
    const Number* dy,      // [S, H]
    Number* d,             // [S, 2, H]
    long long size, int hidden, int kind) {
    const long long index = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x;
    if (index >= size) return;
    const long long at = index / hidden * 2 * hidden + index % hidden;
    Sum forward = widen(dy[index]), reverse = forward;
    if (kind == static_cast<int>(Merge::MEAN)) forward *= Sum(0.5), reverse *= Sum(0.5);
    if (kind == static_cast<int>(Merge::PRODUCT)) forward *= widen(states[at + hidden]), reverse *= widen(states[at]);
    d[at] = narrow(forward);
    d[at + hidden] = narrow(reverse);
}

#endif  // COMMON
