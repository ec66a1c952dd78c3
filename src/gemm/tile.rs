//! The register tile that every product is built from.
//!
//! A tile holds R rows x P panels x V vectors of accumulators and adds `a[row][k] * b[k][column]` for k in order. Each
//! output is one chain of fused multiply-adds, so its bits do not depend on R, P, V or the thread.

use std::mem::MaybeUninit;
use std::ops::Range;

use crate::simd::lanes::Lanes;

/// The largest number of rows of one step, whose pointers are on the stack.
pub const MAX_ROWS_PER_STEP: usize = 64;

/// A list of up to N pointers on the stack. Only those that are filled in are initialised.
pub struct Pointers<P, const N: usize>([MaybeUninit<P>; N]);

/// Pointers to the rows of a step.
pub type RowPointers<P> = Pointers<P, MAX_ROWS_PER_STEP>;

impl<P, const N: usize> Default for Pointers<P, N> {
    #[inline(always)]
    fn default() -> Self {
        Self([const { MaybeUninit::uninit() }; N])
    }
}

impl<P, const N: usize> Pointers<P, N> {
    /// Returns the list of pointer(i) for i in 0..count.
    ///
    /// # Panics
    /// If `count` exceeds N.
    #[inline(always)]
    pub fn fill(&mut self, count: usize, mut pointer: impl FnMut(usize) -> P) -> &[P] {
        for (i, place) in self.0[..count].iter_mut().enumerate() {
            place.write(pointer(i));
        }
        // SAFETY: just written.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), count) }
    }
}

/// Accumulators of R rows x P panels x V vectors.
pub type Accumulators<L, const R: usize, const P: usize, const V: usize> = [[[L; V]; P]; R];

/// Stores the registers of a tile: an array in memory, which can be used vector by vector. Loops over registers would have
/// to be unrolled, which would make the code of all tiles many times as long.
#[inline(always)]
pub fn store<L: Lanes, const R: usize, const P: usize, const V: usize>(
    acc: Accumulators<L, R, P, V>,
) -> Accumulators<L, R, P, V> {
    let mut sums = acc;
    for r in 0..R {
        for p in 0..P {
            for v in 0..V {
                // SAFETY: one register of the array.
                unsafe { acc[r][p][v].store((&raw mut sums[r][p][v]).cast()) }
            }
        }
    }
    sums
}

/// A computation on tiles of an output whose columns are cut into panels of `V` vectors.
pub trait Tile<L: Lanes> {
    /// Computes rows `row..row + R` of panels `panel..panel + P`, whose width is V vectors, while `next` is prefetched.
    ///
    /// # Safety
    /// The instruction set of `L` is present, and the tile is within the output.
    unsafe fn run<const R: usize, const P: usize, const V: usize>(&self, row: usize, panel: usize, next: Next);
}

/// The part of the next panel that a tile prefetches into the second-level cache while it computes. Otherwise the first
/// tile of each panel would wait for memory, which the other tiles would leave idle.
#[derive(Clone, Copy)]
pub struct Next {
    /// The panel.
    pub panel: usize,
    /// The part, and the number of parts.
    part: usize,
    parts: usize,
}

/// The addresses to prefetch, one for each multiply-add of a chain.
#[derive(Clone, Copy)]
pub struct Prefetch<T> {
    from: *const T,
    step: usize,
}

impl Next {
    /// Nothing, for one or two rows: each panel is read only once, and its loads already keep memory busy.
    const NONE: Self = Self { panel: 0, part: 0, parts: 1 };

    /// Returns the addresses within the panel that starts at `start` and is V registers of L wide.
    #[inline(always)]
    pub fn prefetch<L: Lanes, const V: usize>(self, start: *const L::Elem, depth: usize) -> Prefetch<L::Elem> {
        let step = V * L::COUNT;
        // Rounded up, so that parts may overlap but leave no gap.
        Prefetch { from: start.wrapping_add(self.part * step * depth / self.parts), step: step.div_ceil(self.parts) }
    }
}

/// The left operand of a tile.
pub trait Left<T> {
    /// Returns the address of `a[r][k]`.
    ///
    /// # Safety
    /// r and k are within the operand.
    unsafe fn at(&self, r: usize, k: usize) -> *const T;
}

/// A left operand whose rows are contiguous.
pub struct Rows<T, const R: usize>([*const T; R]);

impl<T, const R: usize> Rows<T, R> {
    /// The R rows that pointers are at `starts` of.
    ///
    /// # Safety
    /// There are R.
    #[inline(always)]
    pub unsafe fn from(starts: *const *const T) -> Self {
        // SAFETY: the caller's promise.
        Self(std::array::from_fn(|r| unsafe { *starts.add(r) }))
    }

    /// R rows that are `stride` apart.
    ///
    /// # Safety
    /// All rows are in one buffer.
    #[inline(always)]
    pub unsafe fn apart(first: *const T, stride: usize) -> Self {
        // SAFETY: the caller's promise.
        Self(std::array::from_fn(|r| unsafe { first.add(r * stride) }))
    }
}

impl<T, const R: usize> Left<T> for Rows<T, R> {
    #[inline(always)]
    unsafe fn at(&self, r: usize, k: usize) -> *const T {
        // SAFETY: the caller's promise.
        unsafe { self.0[r].add(k) }
    }
}

/// A transposed left operand, contiguous over the rows for each k.
pub struct Columns<T> {
    /// The address of row 0 for each k.
    pub starts: *const *const T,
    /// The tile's first row.
    pub first: usize,
}

impl<T> Left<T> for Columns<T> {
    #[inline(always)]
    unsafe fn at(&self, r: usize, k: usize) -> *const T {
        // SAFETY: the caller's promise.
        unsafe { (*self.starts.add(k)).add(self.first + r) }
    }
}

/// Computes `acc[r][p][v] += a[r][k] * b[p][k][v]` for k in 0..depth, in order.
///
/// # Safety
/// The instruction set of `L` is present; `a` is readable for R rows and `depth` numbers, `b[p]` for `depth * V`
/// registers.
#[inline(always)]
pub unsafe fn accumulate<L: Lanes, const R: usize, const P: usize, const V: usize>(
    acc: &mut Accumulators<L, R, P, V>,
    a: &impl Left<L::Elem>,
    b: &[*const L::Elem; P],
    depth: usize,
    prefetch: Prefetch<L::Elem>,
) {
    for k in 0..depth {
        if R > 2 {
            // Two addresses: with one or two tiles a panel, there is more than one cache line for each k.
            L::prefetch(prefetch.from.wrapping_add(k * prefetch.step));
            L::prefetch(prefetch.from.wrapping_add(k * prefetch.step + prefetch.step / 2));
        }
        // SAFETY: k < depth, and the caller's promise on both operands.
        unsafe {
            for p in 0..P {
                let weights: [L; V] = std::array::from_fn(|v| L::load(b[p].add((k * V + v) * L::COUNT)));
                for r in 0..R {
                    let x = L::broadcast(*a.at(r, k));
                    for v in 0..V {
                        acc[r][p][v] = x.mul_add(weights[v], acc[r][p][v]);
                    }
                }
            }
        }
    }
}

/// Covers `rows` x `panels` of width V with tiles of nearly equal numbers of rows, as large as the registers allow. For
/// one or two rows, a tile takes several panels, so that there are enough independent chains of multiply-adds. The
/// panels are the outer loop, so all tiles of a panel but the first read it from the first-level cache.
///
/// # Safety
/// As [`Tile::run`], for all of `rows` and `panels`.
#[inline(always)]
pub unsafe fn cover<L: Lanes, const V: usize>(rows: usize, panels: PanelOrder, tile: &impl Tile<L>) {
    let most = if L::WIDE { 8 } else { 4 };
    let tiles = rows.div_ceil(most);
    // SAFETY: the caller's promise; the tiles stay within rows and panels.
    unsafe {
        match rows {
            0 => {}
            1 => strip::<L, _, 1, V>(panels, tile),
            2 => strip::<L, _, 2, V>(panels, tile),
            _ => {
                for i in 0..panels.range.len() {
                    let panel = panels.at(i, 1);
                    let after = if i + 1 < panels.range.len() { panels.at(i + 1, 1) } else { panel };
                    for t in 0..tiles {
                        let (row, end) = (t * rows / tiles, (t + 1) * rows / tiles);
                        let next = Next { panel: after, part: t, parts: tiles };
                        match end - row {
                            2 => tile.run::<2, 1, V>(row, panel, next),
                            3 => tile.run::<3, 1, V>(row, panel, next),
                            4 => tile.run::<4, 1, V>(row, panel, next),
                            5 if L::WIDE => tile.run::<5, 1, V>(row, panel, next),
                            6 if L::WIDE => tile.run::<6, 1, V>(row, panel, next),
                            7 if L::WIDE => tile.run::<7, 1, V>(row, panel, next),
                            8 if L::WIDE => tile.run::<8, 1, V>(row, panel, next),
                            rows => unreachable!("a tile of {rows} rows"),
                        }
                    }
                }
            }
        }
    }
}

/// As [`cover`], for `vectors` vectors in panels of `width`, the last of which may be narrower.
///
/// # Safety
/// As [`cover`].
#[inline(always)]
pub unsafe fn cover_mixed<L: Lanes>(
    rows: usize,
    vectors: usize,
    width: usize,
    panels: PanelOrder,
    tile: &impl Tile<L>,
) {
    let (full, tail) = (vectors / width, vectors % width);
    let whole = PanelOrder { range: panels.range.start..panels.range.end.min(full), down: panels.down };
    // SAFETY: the caller's promise.
    unsafe {
        match width {
            1 => cover::<L, 1>(rows, whole, tile),
            2 => cover::<L, 2>(rows, whole, tile),
            3 => cover::<L, 3>(rows, whole, tile),
            width => unreachable!("panels of {width} vectors"),
        }
        let last = PanelOrder { range: full..panels.range.end.max(full), down: false };
        match tail {
            1 => cover::<L, 1>(rows, last, tile),
            2 => cover::<L, 2>(rows, last, tile),
            _ => {}
        }
    }
}

/// The order in which panels are read.
///
/// Steps alternate between ascending and descending order: if the weights exceed a cache, the panels that were read
/// last are still in it.
#[derive(Clone)]
pub struct PanelOrder {
    /// The panels.
    pub range: Range<usize>,
    /// Whether the order is descending.
    pub down: bool,
}

impl PanelOrder {
    /// Returns the lowest of the `count` panels that follow the first `i` in this order.
    #[inline(always)]
    fn at(&self, i: usize, count: usize) -> usize {
        if self.down { self.range.end - i - count } else { self.range.start + i }
    }
}

/// Covers one or two rows: as many panels at once as the registers hold, then fewer.
///
/// # Safety
/// As [`cover`].
#[inline(always)]
unsafe fn strip<L: Lanes, W: Tile<L>, const R: usize, const V: usize>(panels: PanelOrder, tile: &W) {
    let (mut i, count) = (0, panels.range.len());
    // SAFETY: the caller's promise; i + P <= count.
    unsafe {
        if R == 1 || L::WIDE {
            while i + 4 <= count {
                tile.run::<R, 4, V>(0, panels.at(i, 4), Next::NONE);
                i += 4;
            }
        }
        while i + 2 <= count {
            tile.run::<R, 2, V>(0, panels.at(i, 2), Next::NONE);
            i += 2;
        }
        if i < count {
            tile.run::<R, 1, V>(0, panels.at(i, 1), Next::NONE);
        }
    }
}
