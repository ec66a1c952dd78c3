// -- recurrent dropout: masks of the states that recurrent products read, equal to the CPU's --------------------------

#ifdef COMMON

// Of sequence n, unit j is dropped if word n * H + j of its stream, 2 * 2^32 + the cell, is below rate * 2^32. One
// thread for 16 words.
extern "C" __global__ void recurrent_dropout(
    Sum* masks,  // [N, H], of one direction: 0 for a unit that is dropped, else 1 / (1 - rate)
    long long size, double rate, unsigned long long key_0, unsigned long long key_1, unsigned long long key_2,
    unsigned long long key_3, int cell) {
    const long long counter = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x;
    if (counter * 16 >= size) return;
    const ChachaBlock block = chacha8({key_0, key_1, key_2, key_3}, (2ull << 32) + cell, counter);
    const Sum scale = static_cast<Sum>(1.0 / (1.0 - rate));
    for (int i = 0; i < 16 && counter * 16 + i < size; i++) {
        masks[counter * 16 + i] = drawn(block.word[i], rate) ? Sum(0) : scale;
    }
}

#endif  // COMMON
