// The functions that kernels call: those of CUDA, and versions for the CPU of the primitives that are PTX on a GPU.
// emulator.h includes this file at its end, and barrier.h, which has the rest.
#pragma once
#include <math.h>
#include <time.h>  // clock(): processor time instead of cycles

#include <type_traits>

namespace cuda_emulator {
namespace {

inline unsigned bits_of(float x) {
    unsigned bits;
    memcpy(&bits, &x, 4);
    return bits;
}
inline float float_of(unsigned bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}
template <class T>
T shuffle(unsigned mask, T value, unsigned source) {
    static_assert(sizeof(T) <= 8 && std::is_arithmetic_v<T>, "shuffles move numbers");
    Fiber& me = *current;
    memcpy(&me.value, &value, sizeof value);
    me.source = source;
    wait_warp(SHUFFLE, mask);
    memcpy(&value, &me.result, sizeof value);
    return value;
}
// The block of the cluster that has `size` bytes at an address in its shared memory.
unsigned holder(const void* address, ptrdiff_t size, const char* user) {
    const unsigned first = current->block - current->block % cluster_blocks;
    if (reinterpret_cast<uintptr_t>(address) % size)
        CUDA_EMULATOR_FAIL(MISUSE, "%s at an address not of %td bytes", user, size);
    for (unsigned block = first; block < first + cluster_blocks; ++block) {
        const ptrdiff_t offset = static_cast<const unsigned char*>(address) - blocks[block].shared;
        if (offset < 0 || offset + size > ptrdiff_t(shared_bytes)) continue;
        if (!blocks[block].alive) CUDA_EMULATOR_FAIL(OUT_OF_BOUNDS, "%s to a block that has ended", user);
        return block;
    }
    CUDA_EMULATOR_FAIL(OUT_OF_BOUNDS, "%s beyond the shared memory of its cluster", user);
    return first;
}
void mma(State kind, float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    Fiber& me = *current;
    if (warps[me.warp].alive != 0xFFFFFFFF) CUDA_EMULATOR_FAIL(MISUSE, "an mma needs all 32 threads of its warp");
    me.a = a, me.b = b, me.c = c;
    wait_warp(kind, 0xFFFFFFFF);
}

}  // namespace
}  // namespace cuda_emulator

namespace {

// ---- arithmetic ----

template <class A, class B>
inline auto min(A a, B b) {
    using T = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<T>) return std::fmin(T(a), T(b));  // as in CUDA, the result is the number if the other is NaN
    else return T(b) < T(a) ? T(b) : T(a);
}
template <class A, class B>
inline auto max(A a, B b) {
    using T = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<T>) return std::fmax(T(a), T(b));
    else return T(a) < T(b) ? T(b) : T(a);
}
inline float fast_exponential(float a) { return expf(a); }
inline float fast_quotient(float a, float b) { return a / b; }
template <class T>
inline T __ldg(const T* p) { return *p; }

// ---- conversions: to nearest even for f16 and bf16, NaN to 0x7FFF as PTX's cvt ----

inline unsigned short to_f16(float x) {
    using namespace cuda_emulator;
    unsigned bits = bits_of(x), sign = bits >> 16 & 0x8000, size = bits & 0x7FFFFFFF;
    if (size > 0x7F800000) return 0x7FFF;
    if (size >= 0x47800000) return sign | 0x7C00;  // 2^16 and above
    // Below 2^-14 steps are 2^-24, an ulp of numbers around 1/2: the addition rounds.
    if (size < 0x38800000) return sign | (bits_of(float_of(size) + 0.5f) - bits_of(0.5f));
    return sign | (size - (112u << 23) + 0xFFF + (size >> 13 & 1)) >> 13;  // a carry to infinity is correct
}
inline float from_f16(unsigned short h) {
    using namespace cuda_emulator;
    unsigned sign = (h & 0x8000u) << 16, size = (h & 0x7FFFu) << 13;
    if (size < 0x00800000) return float_of(sign | bits_of(float_of(size + 0x38800000) - float_of(0x38800000)));
    return float_of(sign | (size + (size >= 0x0F800000 ? 224u << 23 : 112u << 23)));  // infinities and NaNs stay such
}
inline unsigned short to_bf16(float x) {
    using namespace cuda_emulator;
    unsigned bits = bits_of(x);
    if ((bits & 0x7FFFFFFF) > 0x7F800000) return 0x7FFF;
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
}
inline float from_bf16(unsigned short h) { return cuda_emulator::float_of(unsigned(h) << 16); }
inline unsigned __float_as_uint(float x) { return cuda_emulator::bits_of(x); }
inline float __uint_as_float(unsigned bits) { return cuda_emulator::float_of(bits); }
inline float to_tf32(float x) {  // to nearest, ties away from 0, as cvt.rna.tf32.f32
    using namespace cuda_emulator;
    unsigned bits = bits_of(x);
    if ((bits & 0x7FFFFFFF) > 0x7F800000) return float_of(0x7FFFE000);
    return float_of((bits + 0x1000) & 0xFFFFE000);
}

// ---- block ----

inline unsigned char* dynamic_shared() { return cuda_emulator::blocks[blockIdx.x].shared; }

void __syncthreads() {
    using namespace cuda_emulator;
    Block& block = blocks[current->block];
    current->state = SYNCTHREADS;
    if (++block.arrived == blockDim.x) {
        block.arrived = 0;
        release(&fibers[current->block * blockDim.x], blockDim.x, SYNCTHREADS);
    }
    leave();
}

inline void __trap() {
    using namespace cuda_emulator;
    CUDA_EMULATOR_FAIL(MISUSE, "__trap()");
}

// ---- warp ----

inline void __syncwarp(unsigned mask = 0xFFFFFFFF) { cuda_emulator::wait_warp(cuda_emulator::SYNCWARP, mask); }

// A source beyond the segment of `width` lanes is the lane itself.
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
    unsigned lane = threadIdx.x % 32;
    return cuda_emulator::shuffle(mask, value, (lane & -width) | (source & (width - 1)));
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    unsigned lane = threadIdx.x % 32, in_segment = lane & (width - 1);
    return cuda_emulator::shuffle(mask, value, in_segment + delta < unsigned(width) ? lane + delta : lane);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32) {
    unsigned lane = threadIdx.x % 32, source = lane ^ lane_mask;
    return cuda_emulator::shuffle(mask, value, source < (lane & -width) + width ? source : lane);
}

inline void mma_m16n8k16_f16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    cuda_emulator::mma(cuda_emulator::MMA_F16, c, a, b);
}
inline void mma_m16n8k16_bf16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    cuda_emulator::mma(cuda_emulator::MMA_BF16, c, a, b);
}
inline void mma_m16n8k8_tf32(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    cuda_emulator::mma(cuda_emulator::MMA_TF32, c, a, b);
}

// ---- cluster ----

inline unsigned cluster_size() { return cuda_emulator::cluster_blocks; }
inline unsigned cluster_rank() { return blockIdx.x % cuda_emulator::cluster_blocks; }

void cluster_arrive() {
    using namespace cuda_emulator;
    unsigned index = current->block / cluster_blocks;
    if (current->arrived) CUDA_EMULATOR_FAIL(MISUSE, "cluster_arrive twice without cluster_wait");
    current->arrived = true;
    current->phase = clusters[index].phase;
    ++clusters[index].arrived;
    complete_cluster(index);
}
void cluster_wait() {
    using namespace cuda_emulator;
    if (!current->arrived) CUDA_EMULATOR_FAIL(MISUSE, "cluster_wait without cluster_arrive");
    bool passed = clusters[current->block / cluster_blocks].phase != current->phase;
    current->state = passed ? READY : CLUSTER_WAIT;
    if (passed) next_round.push_back(current);
    leave();
    current->arrived = false;
}
void* cluster_map(void* shared_pointer, unsigned rank) {
    using namespace cuda_emulator;
    ptrdiff_t offset = static_cast<unsigned char*>(shared_pointer) - dynamic_shared();
    if (rank >= cluster_blocks) CUDA_EMULATOR_FAIL(MISUSE, "cluster_map to rank %u of %u", rank, cluster_blocks);
    if (offset < 0 || size_t(offset) > shared_bytes)
        CUDA_EMULATOR_FAIL(OUT_OF_BOUNDS, "cluster_map of byte %td of %zu bytes of shared memory", offset, shared_bytes);
    return blocks[current->block - cluster_rank() + rank].shared + offset;
}
void store_remote(void* mapped, uint4 value) {
    cuda_emulator::holder(mapped, 16, "store_remote");
    memcpy(mapped, &value, 16);
}

// ---- grid ----

unsigned load_acquire(const unsigned* p) {
    using namespace cuda_emulator;
    give_way(LOAD_ACQUIRE);
    return *static_cast<const volatile unsigned*>(p);
}
void add_release(unsigned* p, unsigned n) {
    ++cuda_emulator::progress;
    *static_cast<volatile unsigned*>(p) += n;
}
uint4 load_shared_by_all(const uint4* p) { return *p; }
uint4 load_packet(const uint4* p) {
    using namespace cuda_emulator;
    give_way(LOAD_ACQUIRE);
    return *p;
}
void store_packet(uint4* p, uint4 packet) {
    ++cuda_emulator::progress;
    *p = packet;
}

}  // namespace

// ---- operations of a whole warp, once all its lanes have arrived ----

namespace cuda_emulator {
namespace {

// D (16, 8) = A (16, K) B (K, 8) + C, summed in float32. Which lane holds which element: PTX ISA 8.7, 9.7.14.5.8,
// "Matrix Fragments for mma.m16n8k16 with floating point type", and 9.7.14.5.7, "... for mma.m16n8k8" (.tf32).
void multiply(Warp& warp, State kind) {
    const bool tf32 = kind == MMA_TF32;
    const int depth = tf32 ? 8 : 16;
    float A[16][16], B[16][8];
    auto half = [&](unsigned word, int i) -> float {  // element i of a fragment: the lower half of a word first
        unsigned short h = word >> 16 * (i & 1);
        return kind == MMA_F16 ? from_f16(h) : from_bf16(h);
    };
    for (int lane = 0; lane < 32; ++lane) {
        const int group = lane >> 2, in_group = lane % 4;
        const unsigned *a = warp.lanes[lane].a, *b = warp.lanes[lane].b;
        if (tf32) {  // the lower 13 bits of an operand are ignored
            for (int i = 0; i < 4; ++i) A[group + i % 2 * 8][in_group + i / 2 * 4] = float_of(a[i] & 0xFFFFE000);
            for (int i = 0; i < 2; ++i) B[in_group + i * 4][group] = float_of(b[i] & 0xFFFFE000);
        } else {
            for (int i = 0; i < 8; ++i) A[group + i / 2 % 2 * 8][in_group * 2 + i % 2 + i / 4 * 8] = half(a[i / 2], i);
            for (int i = 0; i < 4; ++i) B[in_group * 2 + i % 2 + i / 2 * 8][group] = half(b[i / 2], i);
        }
    }
    for (int lane = 0; lane < 32; ++lane)
        for (int i = 0; i < 4; ++i) {
            const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
            float sum = warp.lanes[lane].c[i];
            for (int k = 0; k < depth; ++k) sum += A[row][k] * B[k][column];
            warp.lanes[lane].c[i] = sum;
        }
}
void perform(Warp& warp, unsigned lanes, State kind) {
    if (kind == SHUFFLE) {
        for (unsigned i = 0; i < 32; ++i)
            if (lanes >> i & 1) {  // the value of a lane that does not take part is undefined: NaN
                unsigned source = warp.lanes[i].source;
                warp.lanes[i].result = source < 32 && lanes >> source & 1 ? warp.lanes[source].value : ~uint64_t(0);
            }
    } else if (kind != SYNCWARP) {
        multiply(warp, kind);
    }
}

}  // namespace
}  // namespace cuda_emulator
