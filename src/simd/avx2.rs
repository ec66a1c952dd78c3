//! AVX2 with FMA: 8 f32 or 4 f64 a register, 16 registers.

use std::arch::x86_64::*;

use crate::simd::x86::x86_lanes;

/// Returns a mask of the first n of 8 lanes.
#[inline(always)]
unsafe fn first_of_8(n: usize) -> __m256i {
    // SAFETY: the callers' promise that the instruction set is present.
    unsafe { _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)) }
}

/// Returns a mask of the first n of 4 lanes.
#[inline(always)]
unsafe fn first_of_4(n: usize) -> __m256i {
    // SAFETY: as above.
    unsafe { _mm256_cmpgt_epi64(_mm256_set1_epi64x(n as i64), _mm256_setr_epi64x(0, 1, 2, 3)) }
}

x86_lanes!(F32x8: 8 x f32 in __m256, wide false,
    below |a, b, yes, no| _mm256_blendv_ps(no, yes, _mm256_cmp_ps::<_CMP_LT_OQ>(a, b)),
    first |at, n, x| _mm256_maskload_ps(at, first_of_8(n)), _mm256_maskstore_ps(at, first_of_8(n), x),
    _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps,
    _mm256_sub_ps, _mm256_mul_ps, _mm256_div_ps, _mm256_fmadd_ps, _mm256_max_ps, _mm256_min_ps,
    bits _mm256_castps_si256, _mm256_castsi256_ps, _mm256_and_si256, _mm256_andnot_si256, _mm256_or_si256,
    _mm256_xor_si256, _mm256_slli_epi32, exponent 127.0 << 23);
x86_lanes!(F64x4: 4 x f64 in __m256d, wide false,
    below |a, b, yes, no| _mm256_blendv_pd(no, yes, _mm256_cmp_pd::<_CMP_LT_OQ>(a, b)),
    first |at, n, x| _mm256_maskload_pd(at, first_of_4(n)), _mm256_maskstore_pd(at, first_of_4(n), x),
    _mm256_set1_pd, _mm256_loadu_pd, _mm256_storeu_pd, _mm256_add_pd,
    _mm256_sub_pd, _mm256_mul_pd, _mm256_div_pd, _mm256_fmadd_pd, _mm256_max_pd, _mm256_min_pd,
    bits _mm256_castpd_si256, _mm256_castsi256_pd, _mm256_and_si256, _mm256_andnot_si256, _mm256_or_si256,
    _mm256_xor_si256, _mm256_slli_epi64, exponent 1023.0 << 52);
