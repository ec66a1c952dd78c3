// -- chacha: the generator of the masks of training, ChaCha8 (Bernstein 2008) -----------------------------------------

#ifdef COMMON

// 16 words of a stream.
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
    const unsigned long long (&key)[4], unsigned long long stream, unsigned long long counter) {
    ChachaBlock start = {{0x61707865u, 0x3320646eu, 0x79622d32u, 0x6b206574u}};
    for (int i = 0; i < 8; i++) start.word[4 + i] = static_cast<unsigned>(key[i / 2] >> i % 2 * 32);
    start.word[12] = static_cast<unsigned>(counter), start.word[13] = static_cast<unsigned>(counter >> 32);
    start.word[14] = static_cast<unsigned>(stream), start.word[15] = static_cast<unsigned>(stream >> 32);
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

// Whether a word is below rate * 2^32.
__device__ __forceinline__ bool drawn(unsigned word, double rate) {
    return static_cast<double>(word) < rate * 4294967296.0;
}

#endif  // COMMON
