//! The arguments of the kernels of one step.

use crate::cell::functions::Custom;
use crate::cell::norm::Norm;
use crate::simd::lanes::Lanes;

/// The arguments of the step kernels.
pub struct StepArgs<T> {
    pub(super) rows: usize,
    pub(super) hidden: usize,
    pub(super) padded: usize,
    pub(super) projected: *const T, // [rows, 3 * padded]: b + W x, columns [unit block][gate][lane]
    pub(super) h: *const T,         // [rows, padded]
    pub(super) read: *const T,      // [rows, padded], the states as the products read them: h, or dropped out
    pub(super) next: *mut T,        // [rows, padded]
    pub(super) z: *mut T,           // [rows, padded], reset-before
    pub(super) rh: *mut T,          // [rows, padded], reset-before
    pub(super) sums: *mut T,        // [2][rows_of_sums, 3 * padded], layer normalisation: U h, and a buffer
    pub(super) rows_of_sums: usize,
    pub(super) norm: *const Norm<T>,        // null without layer normalisation
    pub(super) u: *const T,                 // packed for this kernel
    pub(super) width: usize,                // of the panels of u
    pub(super) b_hh: *const T,              // [padded], reset-after
    pub(super) y: *const *mut T,            // [rows][hidden]
    pub(super) tape: *const *mut T,         // [rows][r | z | c | q, hidden each], or null
    pub(super) down: bool,                  // the order of the panels
    pub(super) functions: *const Custom<T>, // null for those of the plain cell
    pub(super) kept: *const T,              // [rows, padded], zoneout's factors of z, or null
    pub(super) finish: unsafe fn(&Self, &FinishedTile<T>),
}

// SAFETY: the parts of a step write to different units, and nothing else writes to the memory that the pointers refer
// to while it runs.
unsafe impl<T: Send + Sync> Sync for StepArgs<T> {}

impl<T> StepArgs<T> {
    /// Returns the address of one vector of the projections: a gate of a vector of units.
    #[inline(always)]
    pub(super) fn projected<L: Lanes<Elem = T>>(&self, row: usize, vector: usize, gate: usize) -> *const T {
        self.projected.wrapping_add(row * 3 * self.padded + (vector * 3 + gate) * L::COUNT)
    }
}

/// A tile whose sums are complete: R rows x P panels x V vectors.
pub struct FinishedTile<T> {
    pub(super) sums: *const T, // [R][P][V] registers
    pub(super) row: usize,
    pub(super) rows: usize, // fewer than R at the end of a chunk
    pub(super) panel: usize,
    pub(super) panels: usize,  // P
    pub(super) vectors: usize, // V
}

impl<T> FinishedTile<T> {
    /// Returns one vector of sums.
    #[inline(always)]
    pub(super) unsafe fn sum<L: Lanes<Elem = T>>(&self, r: usize, p: usize, v: usize) -> L {
        // SAFETY: the caller's promise that the tile has this vector.
        unsafe { L::load(self.sums.add(((r * self.panels + p) * self.vectors + v) * L::COUNT)) }
    }
}
