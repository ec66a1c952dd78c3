//! The kernels of one step of the backward pass: the equations of the cell, for the units whose product was just
//! computed.

use std::ops::Range;

use crate::cell::equations;
use crate::cell::functions::{Custom, Functions};
use crate::cell::norm::Norm;
use crate::simd::float::Float;
use crate::simd::lanes::Lanes;

/// The arguments of the kernels.
pub struct BackwardArgs<T> {
    pub(super) width: usize, // of the panels
    pub(super) rows: usize,
    pub(super) hidden: usize,
    pub(super) padded: usize,
    pub(super) tape: *const *const T,       // [rows][record]
    pub(super) h: *const *const T,          // [rows][hidden]
    pub(super) dy: *const *const T,         // [rows][hidden], or null
    pub(super) d: *const *mut T,            // [rows][segments of hidden]
    pub(super) carry: *mut T,               // [rows, padded]
    pub(super) drh: *const T,               // [rows, padded], second reset-before kernel only
    pub(super) mask: *const T,              // [rows, padded], the factors of the states in the products, or null
    pub(super) through: *const T,           // [rows, padded], the part of carry that the mask applies to
    pub(super) norm: *const Norm<T>,        // null without layer normalisation
    pub(super) functions: *const Custom<T>, // null for those of the plain cell
}

// SAFETY: the parts of a step write to different units, and read only data of other units that was written before the
// step.
unsafe impl<T: Send + Sync> Sync for BackwardArgs<T> {}

impl<T: Float> BackwardArgs<T> {
    /// Calls `body(row, offset, n)` for every vector of some panels' units: n numbers from `offset` on.
    #[inline(always)]
    fn vectors<L: Lanes<Elem = T>>(&self, panels: Range<usize>, mut body: impl FnMut(usize, usize, usize)) {
        let units = panels.start * self.width * L::COUNT..self.hidden.min(panels.end * self.width * L::COUNT);
        for row in 0..self.rows {
            for offset in units.clone().step_by(L::COUNT) {
                body(row, offset, self.hidden - offset);
            }
        }
    }

    /// Reads one vector of a segment of a tape row.
    #[inline(always)]
    pub(super) unsafe fn tape<L: Lanes<Elem = T>>(&self, row: usize, segment: usize, offset: usize) -> L {
        // SAFETY: a tape row holds 4 segments of H numbers; the load is cut at the segment's end.
        unsafe { L::load_first((*self.tape.add(row)).add(segment * self.hidden + offset), self.hidden - offset) }
    }

    /// Writes one vector of a segment of a row of gradients.
    #[inline(always)]
    pub(super) unsafe fn put<L: Lanes<Elem = T>>(&self, row: usize, segment: usize, offset: usize, value: L) {
        // SAFETY: the row has this segment of H numbers; the store is cut at the segment's end.
        unsafe { value.store_first((*self.d.add(row)).add(segment * self.hidden + offset), self.hidden - offset) }
    }

    /// Computes the gradient of the state after the step and, from it, returns (`da_z`, `da_h`). The direct part of
    /// `dh_prev` is left in `carry`. `masked` is whether there is a mask: the compiler would read the pointer for every
    /// vector.
    #[inline(always)]
    pub(super) unsafe fn update<L: Lanes<Elem = T>>(
        &self,
        functions: impl Functions<T>,
        masked: bool,
        row: usize,
        offset: usize,
        n: usize,
    ) -> (L, L) {
        // SAFETY: rows and offset are within the buffers; loads of unpadded rows are cut at H.
        unsafe {
            let carry = self.carry.add(row * self.padded + offset);
            let mut dh = L::load(carry);
            if masked {
                let at = row * self.padded + offset;
                dh = L::load(self.through.add(at)).mul_add(L::load(self.mask.add(at)), dh);
            }
            let dh = if self.dy.is_null() { dh } else { dh + L::load_first((*self.dy.add(row)).add(offset), n) };
            let h = L::load_first((*self.h.add(row)).add(offset), n);
            let (da_z, da_h, direct) =
                equations::update_backward(functions, self.tape(row, 1, offset), self.tape(row, 2, offset), h, dh);
            direct.store(carry);
            (da_z, da_h)
        }
    }
}

/// Reset-after: the whole step.
///
/// # Safety
/// The instruction set of `L` is present, and the arguments are those that `backward_step` passes.
#[inline(always)]
pub unsafe fn after<L: Lanes, F: Functions<L::Elem>>(args: &BackwardArgs<L::Elem>, panels: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe {
        let (functions, masked) = (F::of(args.functions), !args.mask.is_null());
        args.vectors::<L>(
            panels,
            #[inline(always)]
            |row, offset, n| {
                let (da_z, da_h) = args.update::<L>(functions, masked, row, offset, n);
                let (r, a_hh): (L, L) = (args.tape(row, 0, offset), args.tape(row, 3, offset));
                let (da_r, da_hh) = equations::reset_after_backward(functions, r, a_hh, da_h);
                args.put(row, 0, offset, da_hh);
                args.put(row, 1, offset, da_r);
                args.put(row, 2, offset, da_z);
                args.put(row, 3, offset, da_h);
            },
        );
    }
}

/// Reset-before: the part that does not need the candidate's product.
///
/// # Safety
/// As [`after`].
#[inline(always)]
pub unsafe fn before_update<L: Lanes, F: Functions<L::Elem>>(args: &BackwardArgs<L::Elem>, panels: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe {
        let (functions, masked) = (F::of(args.functions), !args.mask.is_null());
        args.vectors::<L>(
            panels,
            #[inline(always)]
            |row, offset, n| {
                let (da_z, da_h) = args.update::<L>(functions, masked, row, offset, n);
                args.put(row, 1, offset, da_z);
                args.put(row, 2, offset, da_h);
            },
        );
    }
}

/// Reset-before: the rest, from `drh` = `da_h` `U_hh`.
///
/// # Safety
/// As [`after`].
#[inline(always)]
pub unsafe fn before_reset<L: Lanes, F: Functions<L::Elem>>(args: &BackwardArgs<L::Elem>, panels: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe {
        let (functions, masked) = (F::of(args.functions), !args.mask.is_null());
        args.vectors::<L>(
            panels,
            #[inline(always)]
            |row, offset, n| {
                let at = row * args.padded + offset;
                let (r, mut drh): (L, L) = (args.tape(row, 0, offset), L::load(args.drh.add(at)));
                if masked {
                    drh = drh * L::load(args.mask.add(at));
                }
                let h = L::load_first((*args.h.add(row)).add(offset), n);
                let (da_r, dh_prev) = equations::reset_backward(functions, r, h, drh, L::load(args.carry.add(at)));
                args.put(row, 0, offset, da_r);
                dh_prev.store(args.carry.add(at));
            },
        );
    }
}
