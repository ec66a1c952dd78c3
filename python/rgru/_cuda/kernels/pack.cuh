// -- pack: U in the order in which blocks hold it ---------------------------------------------------------------------

#ifdef PERSISTENT

// What block `rank` of a team holds of U: unit j of gate `set` as products read it at k.
__device__ __forceinline__ Operand weight(
    const Number* u,  // [3, H, H]
    int set, int unit, int k)
{
    if (unit >= H || k >= H) return operand(Sum(0));
#ifdef BACKWARD
    return operand(widen(u[(static_cast<long long>(set) * H + k) * H + unit]));
#else
    return operand(widen(u[(static_cast<long long>(set) * H + unit) * H + k]));
#endif
}

// One thread for each number.
extern "C" __global__ void pack(
    const Number* u,  // [D, 3, H, H]
    Operand* packed,  // [D, BLOCKS, WEIGHTS]
    int directions) {
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

#endif  // PERSISTENT
