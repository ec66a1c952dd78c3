// -- sort: the sequences of a batch by length -------------------------------------------------------------------------

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

#endif  // COMMON
