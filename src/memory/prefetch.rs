//! Prefetching: loading memory into a cache before it is needed.

/// The size of a cache line in bytes.
const LINE: usize = 64;

/// Prefetches some values into the second-level cache, without waiting for them.
#[inline(always)]
pub fn prefetch<V>(values: &[V]) {
    let start = values.as_ptr().cast::<i8>();
    let before = start.addr() % LINE;
    for at in (0..before + size_of_val(values)).step_by(LINE) {
        prefetch_line(start.wrapping_add(at).wrapping_sub(before));
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn prefetch_line(address: *const i8) {
    use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
    // SAFETY: every x86-64 CPU has the instruction, and it has no effect at an address that cannot be read.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(address) }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn prefetch_line(_address: *const i8) {}
