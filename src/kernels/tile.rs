//! The register tile that every product is made of.
//!
//! A tile holds R rows x P panels x V vectors of accumulators and adds `a[row][k] * b[k][column]` for k in order: one
//! chain of fused multiply-adds for each output, so its bits do not depend on R, P, V or on who computes it.

use std::ops::Range;

use super::lanes::Lanes;

/// Rows that one kernel call takes at most; their pointers live on the stack.
pub const CHUNK: usize = 64;

/// Pointers to the rows of an operand.
pub type RowPointers<T> = [*const T; CHUNK];

/// Accumulators of R rows x P panels x V vectors.
pub type Accumulators<L, const R: usize, const P: usize, const V: usize> = [[[L; V]; P]; R];

/// Work on tiles of an output whose columns are cut into panels of `V` vectors.
pub trait Tile<L: Lanes> {
    /// Computes rows `row..row + R` of panels `panel..panel + P`, whose width is V vectors.
    ///
    /// # Safety
    /// The instruction set of `L` is present, and the tile lies within the output.
    unsafe fn run<const R: usize, const P: usize, const V: usize>(&self, row: usize, panel: usize);
}

/// acc[r][p][v] += a[r][k] * b[p][k][v] for k in 0..depth, in order; one k of `a` is `step` numbers from the next.
///
/// # Safety
/// The instruction set of `L` is present; `a[r]` is readable at `depth` places, `b[p]` for `depth * V` registers.
#[inline(always)]
pub unsafe fn accumulate<L: Lanes, const R: usize, const P: usize, const V: usize>(
    acc: &mut Accumulators<L, R, P, V>,
    a: &[*const L::Elem; R],
    b: &[*const L::Elem; P],
    depth: usize,
    step: usize,
) {
    for k in 0..depth {
        // SAFETY: k < depth, and the caller's promise on both operands.
        unsafe {
            let mut weights = [[L::splat(L::Elem::default()); V]; P];
            for p in 0..P {
                for v in 0..V {
                    weights[p][v] = L::load(b[p].add((k * V + v) * L::COUNT));
                }
            }
            for r in 0..R {
                let x = L::splat(*a[r].add(k * step));
                for p in 0..P {
                    for v in 0..V {
                        acc[r][p][v] = x.mul_add(weights[p][v], acc[r][p][v]);
                    }
                }
            }
        }
    }
}

/// Covers `rows` x `panels` of width V with tiles: as many rows as the registers hold, and for the few rows left more
/// panels at once, so that no chain of multiply-adds waits for itself. The panels are the outer loop: each one is read
/// from the nearest cache for all row tiles.
///
/// # Safety
/// As [`Tile::run`], for all of `rows` and `panels`.
#[inline(always)]
pub unsafe fn cover<L: Lanes, const V: usize>(rows: usize, panels: Range<usize>, tile: &impl Tile<L>) {
    // SAFETY: the caller's promise; the strips stay within rows and panels.
    unsafe {
        let mut row = 0;
        if L::WIDE {
            strip::<L, _, 8, 1, V>(&mut row, rows, panels.clone(), tile);
            strip::<L, _, 4, 2, V>(&mut row, rows, panels.clone(), tile);
            strip::<L, _, 2, 4, V>(&mut row, rows, panels.clone(), tile);
            strip::<L, _, 1, 8, V>(&mut row, rows, panels, tile);
        } else {
            strip::<L, _, 4, 1, V>(&mut row, rows, panels.clone(), tile);
            strip::<L, _, 2, 2, V>(&mut row, rows, panels.clone(), tile);
            strip::<L, _, 1, 4, V>(&mut row, rows, panels, tile);
        }
    }
}

/// All the full tiles of R rows from `row` on; `row` moves past them.
#[inline(always)]
unsafe fn strip<L: Lanes, W: Tile<L>, const R: usize, const P: usize, const V: usize>(
    row: &mut usize,
    rows: usize,
    panels: Range<usize>,
    tile: &W,
) {
    let (first, last) = (*row, *row + (rows - *row) / R * R);
    *row = last;
    if first == last {
        return;
    }
    let mut panel = panels.start;
    while panel + P <= panels.end {
        for r in (first..last).step_by(R) {
            // SAFETY: the caller's promise; r + R <= rows and panel + P <= panels.end.
            unsafe { tile.run::<R, P, V>(r, panel) }
        }
        panel += P;
    }
    while panel < panels.end {
        for r in (first..last).step_by(R) {
            // SAFETY: the caller's promise; r + R <= rows and panel < panels.end.
            unsafe { tile.run::<R, 1, V>(r, panel) }
        }
        panel += 1;
    }
}

/// The R row pointers from `row` on.
#[inline(always)]
pub fn rows_from<T, const R: usize>(rows: &RowPointers<T>, row: usize) -> [*const T; R] {
    std::array::from_fn(|r| rows[row + r])
}
