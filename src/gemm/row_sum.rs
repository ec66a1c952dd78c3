//! The kernel that sums rows.

use crate::simd::float::Float;
use crate::simd::lanes::Lanes;

/// Adds the sum of the rows at `starts` to `out`.
///
/// # Safety
/// The instruction set of `L` is present, and each row has as many numbers as `out`.
#[inline(always)]
pub unsafe fn add_block<L: Lanes>(starts: &[*const L::Elem], out: &mut [L::Elem]) {
    let mut column = 0;
    while column < out.len() {
        let n = out.len() - column;
        // SAFETY: the caller's promise; loads and stores end with `out` and the rows.
        unsafe {
            let to = out.as_mut_ptr().add(column);
            // Several chains at once, since the additions of a chain depend on each other.
            if n >= CHAINS * L::COUNT {
                let mut sums = [L::broadcast(L::Elem::ZERO); CHAINS];
                for start in starts {
                    for (v, sum) in sums.iter_mut().enumerate() {
                        *sum = *sum + L::load(start.add(column + v * L::COUNT));
                    }
                }
                for (v, sum) in sums.into_iter().enumerate() {
                    let to = to.add(v * L::COUNT);
                    (L::load(to) + sum).store(to);
                }
                column += CHAINS * L::COUNT;
            } else {
                let mut sum = L::broadcast(L::Elem::ZERO);
                for start in starts {
                    sum = sum + L::load_first(start.add(column), n);
                }
                (L::load_first(to, n) + sum).store_first(to, n);
                column += L::COUNT;
            }
        }
    }
}

/// The number of vectors that are summed at the same time.
const CHAINS: usize = 6;
