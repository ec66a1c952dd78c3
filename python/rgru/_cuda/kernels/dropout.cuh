// -- dropout between layers, with the CPU's masks ---------------------------------------------------------------------

#ifdef COMMON

// to = from * mask: number i of a layer's input is dropped if word i of its stream, the layer, is below rate * 2^32.
// One thread for 16 numbers. to may be from.
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
        const bool dropped = drawn(block.word[i], rate);
        to[counter * 16 + i] = narrow(dropped ? Sum(0) : widen(from[counter * 16 + i]) * scale);
    }
}

#endif  // COMMON
