//! The register tile that every product is made of.
//!
//! A tile holds R rows x P panels x V vectors of accumulators and adds `a[row][k] * b[k][column]` for k in order: one
//! chain of fused multiply-adds for each output, so its bits do not depend on R, P, V or on who computes it.

use std::mem::MaybeUninit;
use std::ops::Range;

use crate::simd::lanes::Lanes;

/// Rows that one step takes at most; their pointers live on the stack.
pub const MAX_ROWS_PER_STEP: usize = 64;

/// A list of up to N pointers on the stack, of which only what is filled in costs time.
pub struct Pointers<P, const N: usize>([MaybeUninit<P>; N]);

/// For the rows of a step.
pub type RowPointers<P> = Pointers<P, MAX_ROWS_PER_STEP>;

impl<P, const N: usize> Default for Pointers<P, N> {
    #[inline(always)]
    fn default() -> Self {
        Self([const { MaybeUninit::uninit() }; N])
    }
}

impl<P, const N: usize> Pointers<P, N> {
    /// The list of pointer(i) for i in 0..count.
    ///
    /// # Panics
    /// With more than N.
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

/// A tile's sums in memory, for work on them vector by vector: loops over registers would have to be unrolled, and the
/// code of all tiles would be many times as long.
pub struct Sums<L, const R: usize, const P: usize, const V: usize>(Accumulators<L, R, P, V>);

impl<L: Lanes, const R: usize, const P: usize, const V: usize> Sums<L, R, P, V> {
    /// Writes the registers down.
    #[inline(always)]
    pub fn from(acc: Accumulators<L, R, P, V>) -> Self {
        let mut sums = Self(acc);
        for r in 0..R {
            for p in 0..P {
                for v in 0..V {
                    // SAFETY: one register of the array.
                    unsafe { acc[r][p][v].store((&raw mut sums.0[r][p][v]).cast()) }
                }
            }
        }
        sums
    }

    /// One of them.
    #[inline(always)]
    pub fn at(&self, r: usize, p: usize, v: usize) -> L {
        // SAFETY: one register of the array; a value exists, so the instruction set is present.
        unsafe { L::load((&raw const self.0[r][p][v]).cast()) }
    }
}

/// Work on tiles of an output whose columns are cut into panels of `V` vectors.
pub trait Tile<L: Lanes> {
    /// Computes rows `row..row + R` of panels `panel..panel + P`, whose width is V vectors, while `next` is prefetched.
    ///
    /// # Safety
    /// The instruction set of `L` is present, and the tile lies within the output.
    unsafe fn run<const R: usize, const P: usize, const V: usize>(&self, row: usize, panel: usize, next: Next);
}

/// The part of the next panel that a tile prefetches into the second-level cache while it computes: otherwise the first
/// tile of each panel would wait for memory, and the others leave it idle.
#[derive(Clone, Copy)]
pub struct Next {
    /// The panel.
    pub panel: usize,
    /// Which part of how many.
    part: usize,
    parts: usize,
}

/// Addresses to be prefetched, one for each multiply-add of a chain.
#[derive(Clone, Copy)]
pub struct Prefetch<T> {
    from: *const T,
    step: usize,
}

impl Next {
    /// For one or two rows: such tiles prefetch nothing, since each panel is read but once, and its loads fill the time.
    const NONE: Self = Self { panel: 0, part: 0, parts: 1 };

    /// Of the panel that starts at `start`, as wide as V registers of L.
    #[inline(always)]
    pub fn prefetch<L: Lanes, const V: usize>(self, start: *const L::Elem, depth: usize) -> Prefetch<L::Elem> {
        let step = V * L::COUNT;
        // Rounded up: parts may overlap, but leave nothing out.
        Prefetch { from: start.wrapping_add(self.part * step * depth / self.parts), step: step.div_ceil(self.parts) }
    }
}

/// The left operand of a tile.
pub trait Left<T> {
    /// Where a[r][k] lies.
    ///
    /// # Safety
    /// r and k lie within the operand.
    unsafe fn at(&self, r: usize, k: usize) -> *const T;
}

/// Each row by itself, its numbers one after the other.
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
    /// They lie in one buffer.
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

/// A transposed operand: for each k the rows side by side.
pub struct Columns<T> {
    /// For each k where row 0 is.
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

/// acc[r][p][v] += a[r][k] * b[p][k][v] for k in 0..depth, in order.
///
/// # Safety
/// The instruction set of `L` is present; `a` is readable for R rows and `depth` places, `b[p]` for `depth * V`
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
            // Twice: with one or two tiles a panel more than one cache line falls to each k.
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

/// Covers `rows` x `panels` of width V with tiles of nearly equal numbers of rows, as many as the registers hold. For
/// one or two rows a tile takes several panels, so that no chain of multiply-adds waits for itself. The panels are the
/// outer loop: each one is read from the nearest cache for all its tiles but the first.
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

/// Covers `rows` x `panels` where all `vectors` are in panels of `width`, the last of which may be narrower.
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
/// Weights that are larger than a cache are read upwards in one step and downwards in the next: what was read last is
/// still in the cache.
#[derive(Clone)]
pub struct PanelOrder {
    /// The panels.
    pub range: Range<usize>,
    /// Whether the last one comes first.
    pub down: bool,
}

impl PanelOrder {
    /// The first of the `count` panels that come after `i` others.
    #[inline(always)]
    fn at(&self, i: usize, count: usize) -> usize {
        if self.down { self.range.end - i - count } else { self.range.start + i }
    }
}

/// One or two rows: as many panels at once as the registers hold, then fewer.
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
