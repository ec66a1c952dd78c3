// -- dropout between layers, with the CPU's masks ---------------------------------------------------------------------

#ifdef COMMON

// Number i of a layer's input is dropped if word i of ChaCha8 (Bernstein 2008; stream: the layer) is below rate * 2^32.
struct ChachaBlock {
    unsigned word[16];
};

__device__ __forceinline__ unsigned rotate(unsigned value, unsigned by) { return value << by | value >> (32 - by); }

__device__ __forceinline__ void quarter_round(unsigned& a, unsigned& b, unsigned& c, unsigned& d) {
    a += b, d = rotate(d ^ a, 16);
    c += d, b = rotate(b ^ c, 12);
    a += b, d = rotate(d ^ a, 8);
    c += d, b = rotate(b ^ c, 7);
}

// key: 32 bytes, each number the next eight, the lowest first.
__device__ __forceinline__ ChachaBlock chacha8(
    const unsigned long long (&key)[4], unsigned layer, unsigned long long counter) {
    ChachaBlock start = {{0x61707865u, 0x3320646eu, 0x79622d32u, 0x6b206574u}};
    for (int i = 0; i < 8; i++) start.word[4 + i] = static_cast<unsigned>(key[i / 2] >> i % 2 * 32);
    start.word[12] = static_cast<unsigned>(counter), start.word[13] = static_cast<unsigned>(counter >> 32);
    start.word[14] = layer, start.word[15] = 0;
    ChachaBlock block = start;
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
    const Number* from,  // [size]
    Number* to,          // [size]
    long long size, double rate, unsigned long long key_0, unsigned long long key_1, unsigned long long key_2,
    unsigned long long key_3, int layer) {
    const long long counter = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x;
    if (counter * 16 >= size) return;
    const ChachaBlock block = chacha8({key_0, key_1, key_2, key_3}, layer, counter);
    const Sum scale = static_cast<Sum>(1.0 / (1.0 - rate));
    for (int i = 0; i < 16 && counter * 16 + i < size; i++) {
        const bool dropped = static_cast<double>(block.word[i]) < rate * 4294967296.0;
        to[counter * 16 + i] = narrow(dropped ? Sum(0) : widen(from[counter * 16 + i]) * scale);
    }
}

#endif  // COMMON
