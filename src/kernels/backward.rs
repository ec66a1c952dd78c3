//! One step of the backward walk for a chunk of rows: the equations of the cell, element by element. The products with
//! the recurrent weights between them are [`super::matmul`]'s.

use super::Kernels;
use super::forward::Outputs;
use super::lanes::Lanes;
use super::real::Real;
use super::tile::{CHUNK, RowPointers};
use crate::cell;

/// What a backward step reads of each row.
pub struct Recorded<'a, T> {
    /// Tape rows, `[4H]`: r, z, candidate, and r * h or `U_hh h + b_hh`.
    pub tape: &'a dyn Fn(usize) -> &'a [T],
    /// State before the step, `[H]`.
    pub h: &'a dyn Fn(usize) -> &'a [T],
}

/// Arguments of the kernels.
pub struct BackwardArgs<T> {
    rows: usize,
    hidden: usize,
    padded: usize,
    tape: RowPointers<T>, // [rows][4 * hidden]
    h: RowPointers<T>,    // [rows][hidden]
    dy: RowPointers<T>,   // [rows][hidden], or null
    d: [*mut T; CHUNK],   // [rows][3 or 4 segments of hidden]
    carry: *mut T,        // [rows, padded]
    drh: *const T,        // [rows, padded], second reset-before kernel only
}

/// Kernels of a backward step.
#[derive(Clone, Copy)]
pub enum Part {
    /// Reset-after, all of it. `d` rows become [`da_r` | `da_z` | `da_hh` | `da_h`].
    After,
    /// Reset-before, what does not need the candidate's product: `d` rows become [. | `da_z` | `da_h`].
    BeforeUpdate,
    /// Reset-before, the rest, from `drh` = `da_h` `U_hh`: `d` rows get their `da_r`.
    BeforeReset,
}

/// Element-wise part of a backward step of the first `rows` rows.
///
/// `carry` `[rows, padded]` holds the gradient of the state after the step that comes from later steps; `dy` is added to
/// it (not in [`Part::BeforeReset`]). It becomes what goes straight to the state before the step; the products with U
/// are for the caller to add.
///
/// # Panics
/// Where an operand is too short.
pub fn backward_step<'a, T: Real>(
    kernels: &Kernels<T>,
    part: Part,
    hidden: usize,
    rows: usize,
    recorded: &Recorded<T>,
    dy: Option<&dyn Fn(usize) -> &'a [T]>,
    mut d: Outputs<T>,
    carry: &mut [T],
    drh: &[T],
) {
    let padded = hidden.next_multiple_of(kernels.lanes);
    let segments = if matches!(part, Part::After) { 4 } else { 3 };
    assert!(rows <= CHUNK && carry.len() >= rows * padded, "carry too short");
    assert!(!matches!(part, Part::BeforeReset) || drh.len() >= rows * padded, "drh too short");
    let mut args = BackwardArgs {
        rows,
        hidden,
        padded,
        tape: [std::ptr::null(); CHUNK],
        h: [std::ptr::null(); CHUNK],
        dy: [std::ptr::null(); CHUNK],
        d: d.pointers(rows, segments * hidden),
        carry: carry.as_mut_ptr(),
        drh: drh.as_ptr(),
    };
    for row in 0..rows {
        args.tape[row] = (recorded.tape)(row)[..4 * hidden].as_ptr();
        args.h[row] = (recorded.h)(row)[..hidden].as_ptr();
        if let Some(dy) = dy {
            args.dy[row] = dy(row)[..hidden].as_ptr();
        }
    }
    let kernel = match part {
        Part::After => kernels.backward_after,
        Part::BeforeUpdate => kernels.backward_before_update,
        Part::BeforeReset => kernels.backward_before_reset,
    };
    // SAFETY: the kernels exist only for instruction sets of this machine; all rows were sliced to the lengths noted in
    // `BackwardArgs`, the buffers asserted.
    unsafe { kernel(&args) }
}

impl<T: Real> BackwardArgs<T> {
    /// Calls `body(row, offset, n)` for every vector: n numbers from `offset` on.
    #[inline(always)]
    fn vectors<L: Lanes<Elem = T>>(&self, mut body: impl FnMut(usize, usize, usize)) {
        for row in 0..self.rows {
            for offset in (0..self.hidden).step_by(L::COUNT) {
                body(row, offset, self.hidden - offset);
            }
        }
    }

    /// One vector of a segment of a tape row.
    #[inline(always)]
    unsafe fn tape<L: Lanes<Elem = T>>(&self, row: usize, segment: usize, offset: usize) -> L {
        // SAFETY: a tape row holds 4 segments of H numbers; the load is cut at the segment's end.
        unsafe { L::load_first(self.tape[row].add(segment * self.hidden + offset), self.hidden - offset) }
    }

    /// Writes one vector of a segment of a row of gradients.
    #[inline(always)]
    unsafe fn put<L: Lanes<Elem = T>>(&self, row: usize, segment: usize, offset: usize, value: L) {
        // SAFETY: the row holds this segment of H numbers; the store is cut at the segment's end.
        unsafe { value.store_first(self.d[row].add(segment * self.hidden + offset), self.hidden - offset) }
    }

    /// Gradient of the state after the step; then (`da_z`, `da_h`), with the direct part of `dh_prev` left in `carry`.
    #[inline(always)]
    unsafe fn update<L: Lanes<Elem = T>>(&self, row: usize, offset: usize, n: usize) -> (L, L) {
        // SAFETY: rows and offset lie within the buffers; loads of unpadded rows are cut at H.
        unsafe {
            let carry = self.carry.add(row * self.padded + offset);
            let dh = L::load(carry);
            let dh = if self.dy[row].is_null() { dh } else { dh + L::load_first(self.dy[row].add(offset), n) };
            let h = L::load_first(self.h[row].add(offset), n);
            let (da_z, da_h, direct) =
                cell::update_backward(self.tape(row, 1, offset), self.tape(row, 2, offset), h, dh);
            direct.store(carry);
            (da_z, da_h)
        }
    }
}

/// [`Part::After`].
///
/// # Safety
/// The instruction set of `L` is present and the arguments are as [`backward_step`] makes them; so for the two below.
#[inline(always)]
pub unsafe fn after<L: Lanes>(args: &BackwardArgs<L::Elem>) {
    args.vectors::<L>(
        #[inline(always)]
        |row, offset, n| {
            // SAFETY: the caller's promise.
            unsafe {
                let (da_z, da_h) = args.update::<L>(row, offset, n);
                let (r, a_hh): (L, L) = (args.tape(row, 0, offset), args.tape(row, 3, offset));
                let (da_r, da_hh) = cell::reset_after_backward(r, a_hh, da_h);
                args.put(row, 0, offset, da_r);
                args.put(row, 1, offset, da_z);
                args.put(row, 2, offset, da_hh);
                args.put(row, 3, offset, da_h);
            }
        },
    );
}

/// [`Part::BeforeUpdate`].
///
/// # Safety
/// As [`after`].
#[inline(always)]
pub unsafe fn before_update<L: Lanes>(args: &BackwardArgs<L::Elem>) {
    args.vectors::<L>(
        #[inline(always)]
        |row, offset, n| {
            // SAFETY: the caller's promise.
            unsafe {
                let (da_z, da_h) = args.update::<L>(row, offset, n);
                args.put(row, 1, offset, da_z);
                args.put(row, 2, offset, da_h);
            }
        },
    );
}

/// [`Part::BeforeReset`].
///
/// # Safety
/// As [`after`].
#[inline(always)]
pub unsafe fn before_reset<L: Lanes>(args: &BackwardArgs<L::Elem>) {
    args.vectors::<L>(
        #[inline(always)]
        |row, offset, n| {
            // SAFETY: the caller's promise.
            unsafe {
                let at = row * args.padded + offset;
                let (r, drh): (L, L) = (args.tape(row, 0, offset), L::load(args.drh.add(at)));
                let h = L::load_first(args.h[row].add(offset), n);
                let (da_r, dh_prev) = cell::reset_backward(r, h, drh, L::load(args.carry.add(at)));
                args.put(row, 0, offset, da_r);
                dh_prev.store(args.carry.add(at));
            }
        },
    );
}
