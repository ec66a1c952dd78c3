//! How a batch is split among threads: a pure function of sizes and threads.
//!
//! Sequences are independent of each other, so a batch is split by sequences: each group goes through all layers and
//! directions without waiting for another. The split never changes a result's bits.

use std::ops::Range;

use crate::kernels::tile::CHUNK;
use crate::shape::{Dims, Sequences};

/// Work below which a hand-over to other threads costs more than it saves: about 20 microseconds of one core.
pub const INLINE_FLOPS: usize = 2_000_000;

/// Groups a thread gets of sequences of unequal lengths, so that the last to finish is not late by much.
const GROUPS_OF_UNEQUAL: usize = 4;

/// Rows that fill a register tile.
const TILE_ROWS: usize = 8;

/// Who computes what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// For the groups; 1: on the caller's own thread.
    pub threads: usize,
    /// For work that is not split by sequences, such as the weights' gradients.
    pub sharing: usize,
    /// Groups of sequences, as ranges of [`Sequences::order`]; at most [`CHUNK`] each.
    pub groups: Vec<Range<usize>>,
}

impl Plan {
    /// The split of a batch.
    pub fn new(dims: &Dims, sequences: &Sequences, threads: usize) -> Self {
        let count = sequences.count();
        let flops = sequences.steps().saturating_mul(step_flops(dims));
        let sharing = if flops < INLINE_FLOPS { 1 } else { threads };
        let threads = sharing.min(count);
        let mut groups = count.div_ceil(CHUNK);
        if threads > 1 {
            let order = sequences.order();
            let equal = sequences.length(order[0]) == sequences.length(order[count - 1]);
            let wanted = if equal { threads } else { threads * GROUPS_OF_UNEQUAL };
            groups = groups.max(wanted.min(count.div_ceil(TILE_ROWS)).max(threads)).next_multiple_of(threads);
        }
        let bound = |group: usize| group * count / groups.max(1);
        let groups = (0..groups).map(|group| bound(group)..bound(group + 1)).filter(|g| !g.is_empty()).collect();
        Self { threads, sharing, groups }
    }
}

/// Floating-point operations of one step of one sequence, forward.
pub fn step_flops(dims: &Dims) -> usize {
    let cell = |layer| 6 * dims.hidden_size * (dims.layer_input(layer) + dims.hidden_size);
    (0..dims.num_layers).map(|layer| dims.directions() * cell(layer)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sequence_is_in_one_group_of_a_chunk_at_most() {
        let dims = Dims {
            input_size: 16,
            hidden_size: 64,
            num_layers: 1,
            bidirectional: false,
            reset_after: false,
            bias: true,
        };
        for threads in 1..=128 {
            for count in [0, 1, 2, 7, 63, 64, 65, 130, 1000] {
                for spread in [0, 3] {
                    let lengths: Vec<i64> = (0..count).map(|n| 100 - (n % 7) * spread).collect();
                    let sequences = Sequences::padded(count as usize, 100, Some(&lengths)).unwrap();
                    let plan = Plan::new(&dims, &sequences, threads);
                    let covered: Vec<usize> = plan.groups.iter().cloned().flatten().collect();
                    assert_eq!(covered, (0..count as usize).collect::<Vec<_>>());
                    assert!(plan.groups.iter().all(|group| group.len() <= CHUNK), "{threads} {count} {plan:?}");
                    assert!(plan.threads <= threads.max(1));
                }
            }
        }
    }

    #[test]
    fn small_work_stays_on_the_callers_thread() {
        let dims =
            Dims { input_size: 4, hidden_size: 8, num_layers: 1, bidirectional: false, reset_after: true, bias: true };
        let sequences = Sequences::padded(4, 3, None).unwrap();
        assert_eq!(Plan::new(&dims, &sequences, 64).threads, 1);
    }
}
