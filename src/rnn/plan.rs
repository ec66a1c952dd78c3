//! How a batch is split among threads: a pure function of sizes and threads.
//!
//! Sequences are independent of each other, so a batch is split first by sequences: each group goes through all layers
//! and directions without waiting for another, and its threads meet nobody. That is best while there are rows to fill
//! the register tiles and while reading the weights for each group is cheap. With few rows, or weights beyond a core's
//! cache, the threads of a team share the hidden units of each step instead: each reads its part of the weights alone,
//! and keeps it in its cache; the price is a meeting at every product. Which is better is decided by the [`cost`] of each
//! way, from rough figures of a current core that hold for most machines as ratios. The split never changes a result's
//! bits.

use std::ops::Range;

use crate::gemm::tile::MAX_ROWS_PER_STEP;
use crate::shape::{Dims, Sequences};

/// Multiply-adds of a core in a nanosecond, in single precision.
const FLOPS: f64 = 150.0;

/// Bytes of weights a core reads in a nanosecond from its own cache, and from beyond it.
const NEAR: f64 = 150.0;
const FAR: f64 = 60.0;

/// Bytes of weights that stay in a core's own cache from step to step.
const CACHE: f64 = 900_000.0;

/// Bytes of weights that stay in the last cache, and what a core reads in a nanosecond from memory beyond it. Such
/// reading is hardly hidden by the computing, other than that from caches.
const LAST_CACHE: f64 = 24e6;
const MEMORY: f64 = 20.0;

/// Nanoseconds of a meeting of two threads; of more, by the logarithm.
const MEETING: f64 = 250.0;

/// Nanoseconds that inviting other threads costs. Those of the call before are still awake and come at once; to wake
/// one takes far longer, but the work goes on meanwhile, and who comes too late is not waited for.
const INVITING: f64 = 3_000.0;

/// Nanoseconds of a step of a group whatever its size: the latency of one chain of multiply-adds and the gates.
const STEP: f64 = 200.0;

/// Groups a team gets of sequences of unequal lengths, so that the last to finish is not late by much.
const GROUPS_OF_UNEQUAL: usize = 4;

/// Rows that fill a register tile.
const TILE_ROWS: usize = 8;

/// Who computes what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Teams, each of which takes one group after the other.
    pub teams: usize,
    /// Threads of a team, which share every product; 1: no meetings.
    pub members: usize,
    /// Threads for work that is not split by sequences, such as the weights' gradients.
    pub sharing: usize,
    /// Groups of sequences, as ranges of [`Sequences::order`]; at most [`MAX_ROWS_PER_STEP`] each.
    pub groups: Vec<Range<usize>>,
}

impl Plan {
    /// The split of a batch that costs least.
    pub fn new(dims: &Dims, sequences: &Sequences, threads: usize) -> Self {
        let mut best = Self::split(sequences, 1, 1);
        let mut least = best.cost(dims, sequences);
        // Nothing can be gained where waking the others takes longer than the work.
        if least > INVITING && threads > 1 {
            let sizes = (0..).map(|power| 1 << power).take_while(|&members| members < threads).chain([threads]);
            for members in sizes {
                let plan = Self::split(sequences, threads / members, members);
                let cost = plan.cost(dims, sequences);
                if cost < least {
                    (best, least) = (plan, cost);
                }
            }
            best.sharing = threads;
        }
        best
    }

    /// Threads, over all teams.
    pub fn threads(&self) -> usize {
        self.teams * self.members
    }

    fn split(sequences: &Sequences, teams: usize, members: usize) -> Self {
        let count = sequences.count();
        let teams = teams.min(count).max(1);
        let mut groups = count.div_ceil(MAX_ROWS_PER_STEP);
        if teams > 1 {
            let order = sequences.order();
            let equal = sequences.length(order[0]) == sequences.length(order[count - 1]);
            let wanted = if equal { teams } else { teams * GROUPS_OF_UNEQUAL };
            groups = groups.max(wanted.min(count.div_ceil(TILE_ROWS)).max(teams)).next_multiple_of(teams);
        }
        let bound = |group: usize| group * count / groups.max(1);
        let groups = (0..groups).map(|group| bound(group)..bound(group + 1)).filter(|g| !g.is_empty()).collect();
        Self { teams, members, sharing: teams * members, groups }
    }

    /// Nanoseconds that it takes, roughly: each group goes to the team that is ready first.
    pub fn cost(&self, dims: &Dims, sequences: &Sequences) -> f64 {
        let order = sequences.order();
        let mut ready = vec![0.0; self.teams];
        for group in &self.groups {
            let longest = sequences.length(order[group.start]);
            let steps: usize = order[group.clone()].iter().map(|&n| sequences.length(n)).sum();
            let first = (1..self.teams).fold(0, |first, team| if ready[team] < ready[first] { team } else { first });
            ready[first] += self.group_cost(dims, longest as f64, steps as f64);
        }
        let last = ready.into_iter().fold(0.0, f64::max);
        if self.threads() > 1 { last + INVITING } else { last }
    }

    /// Of a group with `longest` steps one after the other and `steps` in all its sequences.
    fn group_cost(&self, dims: &Dims, longest: f64, steps: f64) -> f64 {
        let (members, hidden) = (self.members as f64, dims.hidden_size as f64);
        let meeting = if self.members > 1 { MEETING * libm::log2(members) } else { 0.0 };
        // Reset-before has two products one after the other, and a third ahead of many steps.
        let meetings = if dims.reset_after { 1.0 } else { 2.0 } * meeting;
        let bytes = size_of::<f32>() as f64 * 3.0 * hidden * hidden / members;
        let from_cache = CACHE.min(bytes);
        let reading = from_cache / NEAR + (bytes - from_cache) / FAR;
        let from_memory = (bytes - LAST_CACHE / members).max(0.0) / MEMORY;
        let cell = |layer| {
            let input = dims.layer_input(layer) as f64;
            let recurrent = 6.0 * hidden * hidden / members / FLOPS;
            let projection = 6.0 * hidden * input / members / FLOPS;
            longest * (STEP + meetings + from_memory) + (longest * reading).max(steps * recurrent) + steps * projection
        };
        dims.directions() as f64 * (0..dims.num_layers).map(cell).sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dims(input_size: usize, hidden_size: usize) -> Dims {
        Dims { input_size, hidden_size, num_layers: 1, bidirectional: false, reset_after: false, bias: true }
    }

    fn plan(dims: &Dims, batch: usize, time: usize, threads: usize) -> Plan {
        Plan::new(dims, &Sequences::padded(batch, time, None).unwrap(), threads)
    }

    #[test]
    fn every_sequence_is_in_one_group_of_a_chunk_at_most() {
        for threads in 1..=128 {
            for count in [0, 1, 2, 7, 63, 64, 65, 130, 1000] {
                for spread in [0, 3] {
                    let lengths: Vec<i64> = (0..count).map(|n| 100 - (n % 7) * spread).collect();
                    let sequences = Sequences::padded(count as usize, 100, Some(&lengths)).unwrap();
                    let plan = Plan::new(&dims(16, 64), &sequences, threads);
                    let covered: Vec<usize> = plan.groups.iter().cloned().flatten().collect();
                    assert_eq!(covered, (0..count as usize).collect::<Vec<_>>());
                    assert!(
                        plan.groups.iter().all(|group| group.len() <= MAX_ROWS_PER_STEP),
                        "{threads} {count} {plan:?}"
                    );
                    assert!(plan.threads() <= threads.max(1));
                }
            }
        }
    }

    #[test]
    fn small_work_stays_on_the_callers_thread() {
        for threads in 1..=128 {
            assert_eq!(plan(&dims(4, 8), 4, 3, threads).threads(), 1);
            assert_eq!(plan(&dims(16, 64), 1, 1, threads).threads(), 1);
        }
    }

    #[test]
    fn large_batches_are_split_by_sequences_alone() {
        for threads in 2..=128 {
            let plan = plan(&dims(64, 128), 64 * threads, 50, threads);
            assert_eq!((plan.teams, plan.members), (threads, 1));
        }
    }

    #[test]
    fn few_rows_of_a_large_cell_are_split_by_units() {
        for threads in 2..=128 {
            assert_eq!(plan(&dims(1024, 1024), 1, 100, threads).teams, 1);
            assert!(plan(&dims(1024, 1024), 1, 100, threads).members > 1);
        }
        // More rows, but weights that no cache holds: better read once than by each thread.
        let memory = plan(&dims(512, 2048), 16, 20, 2);
        assert_eq!((memory.teams, memory.members), (1, 2));
        // Both ways at once, where neither alone gives work to all.
        let plan = plan(&dims(512, 1024), 16, 100, 64);
        assert!(plan.members > 1 && plan.threads() == 64, "{plan:?}");
    }

    /// More threads are never estimated to be slower, and good use is made of them while there is work for them.
    #[test]
    fn more_threads_cost_no_more() {
        for (batch, time, hidden) in [(1, 100, 64), (1, 100, 1024), (7, 50, 300), (32, 100, 128), (1000, 20, 64)] {
            let (dims, sequences) = (dims(hidden, hidden), Sequences::padded(batch, time, None).unwrap());
            let cost = |threads| Plan::new(&dims, &sequences, threads).cost(&dims, &sequences);
            for threads in [1, 2, 4, 8, 16, 32, 64] {
                assert!(cost(2 * threads) <= cost(threads), "{batch} {time} {hidden}: {threads} threads doubled");
            }
            let work = cost(1);
            if work > 100.0 * INVITING {
                assert!(cost(8) < work / 3.0, "{batch} {time} {hidden}: {} of {work}", cost(8));
            }
        }
    }
}
