//! AVX-512 (foundation): 16 f32 or 8 f64 a register, 32 registers.

use std::arch::x86_64::*;

use crate::simd::x86::x86_lanes;

x86_lanes!(F32x16: 16 x f32 in __m512, wide true,
    below |a, b, yes, no| _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), no, yes),
    first |at, n, x| _mm512_maskz_loadu_ps((1 << n) - 1, at), _mm512_mask_storeu_ps(at, (1 << n) - 1, x),
    _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps,
    _mm512_sub_ps, _mm512_mul_ps, _mm512_div_ps, _mm512_fmadd_ps, _mm512_max_ps, _mm512_min_ps,
    bits _mm512_castps_si512, _mm512_castsi512_ps, _mm512_and_si512, _mm512_andnot_si512, _mm512_or_si512,
    _mm512_xor_si512, _mm512_slli_epi32, exponent 127.0 << 23);
x86_lanes!(F64x8: 8 x f64 in __m512d, wide true,
    below |a, b, yes, no| _mm512_mask_blend_pd(_mm512_cmp_pd_mask::<_CMP_LT_OQ>(a, b), no, yes),
    first |at, n, x| _mm512_maskz_loadu_pd((1 << n) - 1, at), _mm512_mask_storeu_pd(at, (1 << n) - 1, x),
    _mm512_set1_pd, _mm512_loadu_pd, _mm512_storeu_pd, _mm512_add_pd,
    _mm512_sub_pd, _mm512_mul_pd, _mm512_div_pd, _mm512_fmadd_pd, _mm512_max_pd, _mm512_min_pd,
    bits _mm512_castpd_si512, _mm512_castsi512_pd, _mm512_and_si512, _mm512_andnot_si512, _mm512_or_si512,
    _mm512_xor_si512, _mm512_slli_epi64, exponent 1023.0 << 52);
