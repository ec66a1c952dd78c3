// -- zoneout: states that stay as they are, with the CPU's masks ------------------------------------------------------

#ifdef COMMON

// Of compact row i, unit j is kept if word i * H + j of its stream, 2^32 + the cell, is below rate * 2^32. One thread
// for 16 words.
extern "C" __global__ void zoneout(
    unsigned char* factors,  // [S, D, H]: of z, 0 for a state that is kept, else 1
    long long size, double rate, unsigned long long key_0, unsigned long long key_1, unsigned long long key_2,
    unsigned long long key_3, int cell, int hidden, int directions, int direction) {
    const long long counter = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x;
    if (counter * 16 >= size) return;
    const ChachaBlock block = chacha8({key_0, key_1, key_2, key_3}, (1ull << 32) + cell, counter);
    for (int i = 0; i < 16 && counter * 16 + i < size; i++) {
        const long long row = (counter * 16 + i) / hidden, unit = (counter * 16 + i) % hidden;
        factors[(row * directions + direction) * hidden + unit] = drawn(block.word[i], rate) ? 0 : 1;
    }
}

#endif  // COMMON
