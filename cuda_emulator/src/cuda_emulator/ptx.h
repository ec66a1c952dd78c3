// The instructions of PTX, as ptx.py calls them; sources as there, section by section.
#pragma once
#include <fenv.h>

#include <limits>

#include "memory.h"

namespace cuda_emulator {
namespace {

// ---- registers ----

// Bits as a number of some type; a register may be longer than the number.
template <class To, class From>
To as(From bits) {
    static_assert(sizeof(To) <= sizeof(From), "an operand longer than its register");
    To value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
// Writes a number to a register; shorter numbers are extended by their sign, if they have one.
template <class Register, class T>
void put(Register& to, T value) {
    static_assert(sizeof(T) <= sizeof(Register), "a result longer than its register");
    if constexpr (std::is_same_v<T, float>) to = as<uint32_t>(value);
    else if constexpr (std::is_same_v<T, double>) to = as<uint64_t>(value);
    else to = static_cast<Register>(value);
}
template <class To, class Low, class High>
To joined(Low low, High high) {
    static_assert(sizeof(Low) == sizeof(High) && sizeof(To) == 2 * sizeof(Low));
    return To(high) << 8 * sizeof(Low) | low;
}
template <class From, class Part>
void part(From from, Part& low, Part& high) {
    static_assert(sizeof(From) == 2 * sizeof(Part));
    low = static_cast<Part>(from), high = static_cast<Part>(from >> 8 * sizeof(Part));
}

// ---- 9.7.1, 9.7.2: whole numbers ----

template <class T>
using Bits = std::make_unsigned_t<T>;
template <class T>
using Wide = std::conditional_t<
    sizeof(T) == 8, std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>,
    std::conditional_t<sizeof(T) == 4, std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>,
                       std::conditional_t<std::is_signed_v<T>, int32_t, uint32_t>>>;

#define WHOLE template <class T, std::enable_if_t<std::is_integral_v<T>, int> = 0>
WHOLE T ptx_add(T a, T b) { return T(Bits<T>(a) + Bits<T>(b)); }
WHOLE T ptx_sub(T a, T b) { return T(Bits<T>(a) - Bits<T>(b)); }
WHOLE T ptx_neg(T a) { return T(Bits<T>(0) - Bits<T>(a)); }
WHOLE T ptx_min(T a, T b) { return b < a ? b : a; }
WHOLE T ptx_max(T a, T b) { return a < b ? b : a; }
WHOLE Wide<T> ptx_mul_wide(T a, T b) { return Wide<T>(a) * Wide<T>(b); }
WHOLE T ptx_mul_lo(T a, T b) { return T(Wide<Bits<T>>(Bits<T>(a)) * Bits<T>(b)); }
WHOLE T ptx_mul_hi(T a, T b) { return T(Wide<T>(a) * Wide<T>(b) >> 8 * sizeof(T)); }
WHOLE T ptx_mad_lo(T a, T b, T c) { return ptx_add(ptx_mul_lo(a, b), c); }
// The halves of a times the lower two bytes of b.
uint32_t ptx_dp2a_lo_u32(uint32_t a, uint32_t b, uint32_t c) {
    return (a & 0xFFFF) * (b & 0xFF) + (a >> 16) * (b >> 8 & 0xFF) + c;
}
WHOLE T divisor(T b) {
    if (b == 0) CUDA_EMULATOR_FAIL(MISUSE, "a division by zero");
    return b;
}
WHOLE T ptx_div(T a, T b) { return T(Wide<T>(a) / divisor(b)); }
WHOLE T ptx_rem(T a, T b) { return T(Wide<T>(a) % divisor(b)); }
template <class T>
T ptx_bfi(T a, T b, uint32_t at, uint32_t length) {
    at &= 255, length &= 255;
    for (uint32_t i = 0; i < length && at + i < 8 * sizeof(T); ++i) {
        b = (b & ~(T(1) << (at + i))) | (a >> i & 1) << (at + i);
    }
    return b;
}

// ---- 9.7.3, 9.7.4: floating point. Subnormal numbers count as zero where it says ftz, going in and coming out. ----

float canonical(float a) { return a != a ? as<float>(0x7FFFFFFFu) : a; }  // the bits of NaN, as results have them
double canonical(double a) { return a; }
float ftz(float a) {
    return std::fabs(a) < std::numeric_limits<float>::min() ? std::copysign(0.0f, a) : canonical(a);
}

#define TO_NEAREST(T, SUFFIX, F)                                        \
    T ptx_add##SUFFIX(T a, T b) { return F(F(a) + F(b)); }              \
    T ptx_sub##SUFFIX(T a, T b) { return F(F(a) - F(b)); }              \
    T ptx_mul##SUFFIX(T a, T b) { return F(F(a) * F(b)); }              \
    T ptx_fma##SUFFIX(T a, T b, T c) { return F(std::fma(F(a), F(b), F(c))); } \
    T ptx_div##SUFFIX(T a, T b) { return F(F(a) / F(b)); }              \
    T ptx_rcp##SUFFIX(T a) { return F(1 / F(a)); }                      \
    T ptx_sqrt##SUFFIX(T a) { return F(std::sqrt(F(a))); }              \
    T ptx_neg##SUFFIX(T a) { return -F(a); }                            \
    T ptx_abs##SUFFIX(T a) { return std::fabs(F(a)); }
TO_NEAREST(float, , canonical)
TO_NEAREST(float, _ftz, ftz)
TO_NEAREST(float, _rn, canonical)
TO_NEAREST(float, _rn_ftz, ftz)
TO_NEAREST(double, , canonical)
TO_NEAREST(double, _rn, canonical)

// Towards minus infinity. Products of two floats are exact in double; two-sum gives what the addition loses.
float ptx_fma_rm_ftz(float a, float b, float c) {
    const double product = double(ftz(a)) * ftz(b), sum = product + double(ftz(c));
    const double back = sum - product, lost = (product - (sum - back)) + (double(ftz(c)) - back);
    float down = static_cast<float>(sum);
    if (std::isfinite(down) && double(down) - sum > lost) down = std::nextafter(down, -INFINITY);
    return ftz(down);
}
float ptx_ex2_approx_ftz(float a) { return ftz(static_cast<float>(std::exp2(double(ftz(a))))); }
float ptx_div_approx_ftz(float a, float b) {  // 9.7.3.8: of a divisor beyond 2^126 the quotient is 0
    return std::fabs(b) > 0x1p126f && std::isfinite(b) ? 0.0f * ftz(a) : ftz(ftz(a) / ftz(b));
}
float ptx_rcp_approx_ftz(float a) { return ftz(1 / ftz(a)); }
double ptx_rcp_approx_ftz(double a) {  // 9.7.3.14: of the upper half, the lower half is zero
    const double upper = as<double>(as<uint64_t>(a) & 0xFFFFFFFF00000000u);
    return as<double>(as<uint64_t>(1 / upper) & 0xFFFFFFFF00000000u);
}
template <class T>
T ptx_copysign(T sign, T a) { return std::copysign(a, sign); }

// ---- 9.7.6: comparisons ----

template <class T>
T flushed(T a) { return ftz(a); }
#define COMPARISON(NAME, OPERATOR)                                                       \
    template <class T>                                                                   \
    bool ptx_setp_##NAME(T a, T b) { return a OPERATOR b; }                              \
    template <class T>                                                                   \
    bool ptx_setp_##NAME##_ftz(T a, T b) { return flushed(a) OPERATOR flushed(b); }      \
    template <class T>                                                                   \
    bool ptx_setp_##NAME##u(T a, T b) { return a != a || b != b || a OPERATOR b; }       \
    template <class T>                                                                   \
    bool ptx_setp_##NAME##u_ftz(T a, T b) { return ptx_setp_##NAME##u(flushed(a), flushed(b)); }
COMPARISON(eq, ==)
COMPARISON(lt, <)
COMPARISON(le, <=)
COMPARISON(gt, >)
COMPARISON(ge, >=)
template <class T>
bool ptx_setp_ne(T a, T b) { return a == a && b == b && a != b; }
template <class T>
bool ptx_setp_neu(T a, T b) { return !(a == b); }
template <class T>
bool ptx_setp_nan(T a, T b) { return a != a || b != b; }
template <class T>
bool ptx_setp_nan_ftz(T a, T b) { return ptx_setp_nan(a, b); }
template <class T>
T ptx_selp(T a, T b, bool which) { return which ? a : b; }

// ---- 9.7.8: logic, shifts ----

template <class T>
T ptx_and(T a, T b) { return T(a & b); }
template <class T>
T ptx_or(T a, T b) { return T(a | b); }
template <class T>
T ptx_xor(T a, T b) { return T(a ^ b); }
template <class T>
T ptx_not(T a) { return std::is_same_v<T, bool> ? T(!a) : T(~a); }
WHOLE T ptx_shl(T a, uint32_t by) { return by < 8 * sizeof(T) ? T(Bits<T>(a) << by) : T(0); }
WHOLE T ptx_shr(T a, uint32_t by) {
    if (by < 8 * sizeof(T)) return T(a >> by);
    return std::is_signed_v<T> && a < 0 ? T(-1) : T(0);
}
uint32_t ptx_shf_l_wrap(uint32_t low, uint32_t high, uint32_t by) {
    return (uint64_t(high) << 32 | low) << (by & 31) >> 32;
}
uint32_t ptx_shf_r_wrap(uint32_t low, uint32_t high, uint32_t by) {
    return static_cast<uint32_t>((uint64_t(high) << 32 | low) >> (by & 31));
}

// ---- 9.7.9: moves and conversions ----

uint32_t ptx_prmt(uint32_t a, uint32_t b, uint32_t selection) {
    uint32_t result = 0;
    for (int i = 0; i < 4; ++i) {
        const uint32_t select = selection >> 4 * i & 15;
        uint32_t byte = (uint64_t(b) << 32 | a) >> 8 * (select & 7) & 255;
        if (select & 8) byte = byte & 128 ? 255 : 0;
        result |= byte << 8 * i;
    }
    return result;
}
template <class To, class From>
To ptx_cvt(From a) {
    static_assert(std::is_integral_v<To> && std::is_integral_v<From>);
    return static_cast<To>(a);
}
template <class To, class From>
To ptx_cvt_rn(From a) {
    static_assert(std::is_floating_point_v<To> && sizeof(To) >= sizeof(From));
    return static_cast<To>(a);  // C++ rounds whole numbers to the nearest, too
}
template <class To>
To ptx_cvt_rn_f16(float a) { return to_f16(a); }
template <class To>
To ptx_cvt_f16(uint16_t a) { return from_f16(a); }
template <class To>
To ptx_cvt_ftz_sat(float a) { return a != a ? 0.0f : ftz(std::fmin(std::fmax(ftz(a), 0.0f), 1.0f)); }
template <class To>
To ptx_cvt_ftz(float a) { return ftz(a); }
template <class To>
To ptx_cvt_rn_ftz(double a) { return ftz(static_cast<To>(a)); }
template <class To>
To ptx_cvt_rni(float a) { return std::nearbyint(a); }
template <class To>
To ptx_cvt_rna_tf32(float a) { return to_tf32(a); }
uint32_t ptx_shfl_sync_bfly(uint32_t value, uint32_t lanes, uint32_t segment, uint32_t mask) {
    if (segment != 31 || lanes > 31 || mask != ~0u) CUDA_EMULATOR_FAIL(MISUSE, "only whole warps can shuffle here");
    return __shfl_xor_sync(mask, value, static_cast<int>(lanes));
}
uint64_t ptx_cvta_to_global(uint64_t generic) { return generic; }
uint64_t ptx_cvta_shared(uint64_t window) {
    return reinterpret_cast<uint64_t>(blocks[blockIdx.x].shared) + window - SHARED_WINDOW;
}
uint64_t ptx_cvta_to_shared(uint64_t generic) {
    return generic - reinterpret_cast<uint64_t>(blocks[blockIdx.x].shared) + SHARED_WINDOW;
}
uint32_t ptx_mapa_shared_cluster(uint32_t own, uint32_t rank) {
    if (own >> RANK_AT) CUDA_EMULATOR_FAIL(MISUSE, "mapa of an address of another block");
    if (rank >= cluster_blocks) CUDA_EMULATOR_FAIL(MISUSE, "mapa to rank %u of %u", rank, cluster_blocks);
    return (rank + 1) << RANK_AT | own;
}
uint64_t ptx_mapa(uint64_t generic, uint32_t rank) {
    return reinterpret_cast<uint64_t>(cluster_map(reinterpret_cast<void*>(generic), rank));
}

// ---- 9.7.14: matrices ----

template <int N>
struct Fragment {
    uint32_t* at[N];
};
template <int A, int B>
void multiply(
    void (*mma)(float (&)[4], const unsigned (&)[4], const unsigned (&)[2]), Fragment<4> d, Fragment<A> a,
    Fragment<B> b, Fragment<4> c) {
    float sums[4];
    unsigned first[4] = {}, second[2] = {};
    for (int i = 0; i < 4; ++i) sums[i] = as<float>(*c.at[i]);
    for (int i = 0; i < A; ++i) first[i] = *a.at[i];
    for (int i = 0; i < B; ++i) second[i] = *b.at[i];
    mma(sums, first, second);
    for (int i = 0; i < 4; ++i) *d.at[i] = as<uint32_t>(sums[i]);
}
#define MMA(NAME, FUNCTION, A, B) \
    void NAME(Fragment<4> d, Fragment<A> a, Fragment<B> b, Fragment<4> c) { multiply(FUNCTION, d, a, b, c); }
MMA(ptx_mma_sync_aligned_m16n8k16_row_col_f32_f16_f16_f32, mma_m16n8k16_f16, 4, 2)
MMA(ptx_mma_sync_aligned_m16n8k16_row_col_f32_bf16_bf16_f32, mma_m16n8k16_bf16, 4, 2)
MMA(ptx_mma_sync_aligned_m16n8k8_row_col_f32_tf32_tf32_f32, mma_m16n8k8_tf32, 4, 2)
// The first half of m16n8k16's columns: its fragments lie in the same places, the others are zero.
MMA(ptx_mma_sync_aligned_m16n8k8_row_col_f32_f16_f16_f32, mma_m16n8k16_f16, 2, 1)

}  // namespace
}  // namespace cuda_emulator
