//! One step of one sequence in a cell whose units fit into one register.
//!
//! For so small a cell, sharing out rows and panels takes longer than its numbers. The chains of multiply-adds are those
//! of the other kernels, so the bits are the same.

use crate::cell::equations;
use crate::cell::functions::{Custom, Functions};
use crate::simd::lanes::Lanes;

/// The arguments of the kernels.
pub struct SingleArgs<T> {
    pub(super) input: usize,
    pub(super) hidden: usize,
    pub(super) x: *const T,                 // [input]
    pub(super) h: *mut T,                   // [lane]
    pub(super) w: *const T,                 // [input][gate][lane]
    pub(super) start: *const T,             // [gate][lane]: b, or b + W x without features
    pub(super) u: *const T,                 // [hidden][gate][lane]; the gates are r and z alone in reset-before
    pub(super) candidate: *const T,         // [hidden][lane], or null in reset-after
    pub(super) b_hh: *const T,              // [lane], reset-after
    pub(super) functions: *const Custom<T>, // null for those of the plain cell
}

/// Adds the products of `count` numbers at `x` with rows of N vectors at `rows`.
///
/// # Safety
/// The instruction set of `L` is present, and all numbers are readable.
#[inline(always)]
unsafe fn add_products<L: Lanes, const N: usize>(
    mut sums: [L; N],
    count: usize,
    x: *const L::Elem,
    rows: *const L::Elem,
) -> [L; N] {
    for k in 0..count {
        // SAFETY: the caller's promise.
        unsafe {
            let x = L::broadcast(*x.add(k));
            for (n, sum) in sums.iter_mut().enumerate() {
                *sum = x.mul_add(L::load(rows.add((k * N + n) * L::COUNT)), *sum);
            }
        }
    }
    sums
}

/// Runs the kernel.
///
/// # Safety
/// The instruction set of `L` is present, and the arguments are those that `step_single` passes.
#[inline(always)]
pub unsafe fn run<L: Lanes, F: Functions<L::Elem>>(s: &SingleArgs<L::Elem>) {
    // SAFETY: the caller's promise.
    unsafe {
        let functions = F::of(s.functions);
        let start: [L; 3] = std::array::from_fn(|gate| L::load(s.start.add(gate * L::COUNT)));
        let [a_r, a_z, a_x] = add_products(start, s.input, s.x, s.w);
        let h = L::load(s.h);
        let (z, a_h) = if s.candidate.is_null() {
            let [a_r, a_z, a_hh] = add_products([a_r, a_z, L::load(s.b_hh)], s.hidden, s.h, s.u);
            let (r, z) = equations::gates(functions, a_r, a_z);
            (z, equations::reset_after(r, a_x, a_hh))
        } else {
            let [a_r, a_z] = add_products([a_r, a_z], s.hidden, s.h, s.u);
            let (r, z) = equations::gates(functions, a_r, a_z);
            // The state is not read again as numbers.
            equations::reset(r, h).store(s.h);
            let [a_h] = add_products([a_x], s.hidden, s.h, s.candidate);
            (z, a_h)
        };
        let z = functions.kept(z, std::ptr::null());
        let (_, new) = equations::update(functions, a_h, z, h);
        new.store(s.h);
    }
}
