// -- hardware: what is assembly on a GPU ------------------------------------------------------------------------------
// An emulator brings versions of its own.

#ifdef __CUDACC__

__device__ __forceinline__ unsigned char* dynamic_shared() {
    extern __shared__ uint4 dynamic[];
    return reinterpret_cast<unsigned char*>(dynamic);
}

__device__ __forceinline__ unsigned load_acquire(const unsigned* from) {
    unsigned value;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(from) : "memory");
    return value;
}

__device__ __forceinline__ void add_release(unsigned* to, unsigned value) {
    asm volatile("red.release.gpu.global.add.u32 [%0], %1;" ::"l"(to), "r"(value) : "memory");
}

// From the second-level cache: what other multiprocessors have written.
__device__ __forceinline__ uint4 load_shared_by_all(const uint4* from) {
    uint4 v;
    asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(from));
    return v;
}

// 16 bytes that arrive as one: a scalar of 128 bits in the memory model, which a vector of four words is not.
__device__ __forceinline__ uint4 load_packet(const uint4* from) {
    uint4 v;
    asm volatile(
        "{.reg .b128 packet; .reg .b64 low, high; ld.relaxed.gpu.global.b128 packet, [%4]; "
        "mov.b128 {low, high}, packet; mov.b64 {%0, %1}, low; mov.b64 {%2, %3}, high;}"
        : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
        : "l"(from));
    return v;
}

__device__ __forceinline__ void store_packet(uint4* to, uint4 v) {
    asm volatile(
        "{.reg .b128 packet; .reg .b64 low, high; mov.b64 low, {%1, %2}; mov.b64 high, {%3, %4}; "
        "mov.b128 packet, {low, high}; st.relaxed.gpu.global.b128 [%0], packet;}" ::"l"(to),
        "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
        : "memory");
}

__device__ __forceinline__ void cluster_arrive() { asm volatile("barrier.cluster.arrive.release;" ::: "memory"); }
__device__ __forceinline__ void cluster_wait() { asm volatile("barrier.cluster.wait.acquire;" ::: "memory"); }

__device__ __forceinline__ unsigned cluster_rank() {
    unsigned rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

// The address of shared memory within its window, as the instructions below take it.
__device__ __forceinline__ unsigned shared_address(const void* shared) {
    return static_cast<unsigned>(__cvta_generic_to_shared(shared));
}

// In shared memory, of one arrival a phase; it also counts the bytes that blocks of the cluster send (PTX ISA, mbarrier).
using Barrier = unsigned long long;

__device__ __forceinline__ void barrier_init(Barrier* barrier) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1; fence.mbarrier_init.release.cluster;" ::"r"(
                     shared_address(barrier))
                 : "memory");
}

// Arrives, and announces the bytes of the phase.
__device__ __forceinline__ void barrier_expect(Barrier* barrier, unsigned bytes) {
    asm volatile("mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
                 "r"(bytes)
                 : "memory");
}

// Whether the phase of this parity has ended; after some time without an end, false.
__device__ __forceinline__ bool barrier_passed(Barrier* barrier, unsigned parity) {
    unsigned passed;
    asm volatile("{.reg .pred passed; mbarrier.try_wait.parity.relaxed.cluster.shared::cta.b64 passed, [%1], %2; "
                 "selp.u32 %0, 1, 0, passed;}"
                 : "=r"(passed)
                 : "r"(shared_address(barrier)), "r"(parity)
                 : "memory");
    // Shared memory alone: an acquire of everything would drop what the first-level cache holds of arrays.
    asm volatile("fence.acquire.sync_restrict::shared::cluster.cluster;" ::: "memory");
    return passed;
}

// Stores to what lies at `own` in block `rank` of the cluster, some time later, and counts the bytes on its barrier.
__device__ __forceinline__ void store_async(void* own, Barrier* barrier, unsigned rank, uint4 value) {
    asm volatile(
        "{.reg .b32 to, counter; mapa.shared::cluster.u32 to, %0, %2; mapa.shared::cluster.u32 counter, %1, %2; "
        "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [to], {%3, %4, %5, %6}, [counter];}" ::"r"(
            shared_address(own)),
        "r"(shared_address(barrier)), "r"(rank), "r"(value.x), "r"(value.y), "r"(value.z), "r"(value.w)
        : "memory");
}

// By the special function units.
__device__ __forceinline__ float fast_exponential(float a) { return __expf(a); }
__device__ __forceinline__ float fast_quotient(float a, float b) { return __fdividef(a, b); }

__device__ __forceinline__ unsigned short to_f16(float value) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}

__device__ __forceinline__ float from_f16(unsigned short bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

__device__ __forceinline__ float from_bf16(unsigned short bits) { return __uint_as_float(unsigned(bits) << 16); }

__device__ __forceinline__ unsigned short to_bf16(float value) {
    const unsigned bits = __float_as_uint(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<unsigned short>(bits >> 16 | 0x40u);  // NaN stays NaN
    return static_cast<unsigned short>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);                  // nearest even
}

__device__ __forceinline__ float to_tf32(float value) {
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
    return __uint_as_float(bits);
}

// c += a b with a (16, 16), b (16, 8). PTX ISA, "Matrix fragments for mma.m16n8k16": with g = lane / 4, i = lane % 4,
// a[0] holds row g, k = 2i and 2i+1; a[1] row g+8; a[2] and a[3] the same at k + 8; b[0] column g, k = 2i and 2i+1;
// b[1] k + 8; c[0] and c[1] row g, columns 2i and 2i+1; c[2] and c[3] row g+8.
__device__ __forceinline__ void mma_m16n8k16_f16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    for (int half = 0; half < 2; half++) {
        asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[2 * half]), "r"(a[2 * half + 1]), "r"(b[half]));
    }
#endif
}

// As mma_m16n8k16_f16.
__device__ __forceinline__ void mma_m16n8k16_bf16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// c += a b with a (16, 8), b (8, 8). PTX ISA, "Matrix fragments for mma.m16n8k8": a[0] holds row g, k = i; a[1] row
// g+8; a[2] and a[3] the same at k + 4; b[0] column g, k = i; b[1] k + 4; c as for m16n8k16.
__device__ __forceinline__ void mma_m16n8k8_tf32(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#endif  // __CUDACC__
