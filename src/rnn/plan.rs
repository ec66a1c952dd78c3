//! How a batch is split among threads: a pure function of sizes and threads.
//!
//! Sequences are independent of each other, so a batch is split first by sequences: each group runs through all layers
//! and directions without waiting for another. That is best while there are enough rows to fill the register tiles and
//! reading the weights for each group is cheap. With few rows, or weights larger than a core's cache, the threads of a
//! team share the hidden units of each step instead: each thread reads only its part of the weights and keeps it in its
//! cache, at the price of a barrier at every product. [`Plan::cost`] estimates each split from rough figures of a
//! current core, whose ratios hold for most machines, and the cheapest one is chosen. The split never changes a
//! result's bits.

use std::ops::Range;

use crate::gemm::tile::MAX_ROWS_PER_STEP;
use crate::shape::{Dims, Sequences};

/// Floating-point operations of a core in a nanosecond, in single precision.
const FLOP_PER_NS: f64 = 150.0;

/// Bytes of weights that a core reads in a nanosecond from its own cache, and from a shared one.
const CACHE_BYTES_PER_NS: f64 = 150.0;
const SHARED_BYTES_PER_NS: f64 = 60.0;

/// Bytes of weights that stay in a core's own cache from step to step.
const CACHE_BYTES: f64 = 900_000.0;

/// Bytes of weights that stay in the last-level cache, and bytes that a core reads in a nanosecond from memory. Unlike
/// reads from caches, reads from memory hardly overlap with computation.
const LAST_CACHE_BYTES: f64 = 24e6;
const MEMORY_BYTES_PER_NS: f64 = 20.0;

/// Nanoseconds of a barrier of two threads; for more threads, times the base-2 logarithm of their number.
const BARRIER_NS: f64 = 250.0;

/// Nanoseconds that it costs to signal other threads. Threads of the previous call are still awake and join at once.
/// Waking one takes far longer, but the work goes on meanwhile, and no call waits for a thread that joins too late.
const SIGNAL_NS: f64 = 3_000.0;

/// Nanoseconds of a group's step of any size: the latency of one chain of multiply-adds and of the gates.
const STEP_NS: f64 = 200.0;

/// Groups for each team if sequences are of unequal lengths, so that teams finish at about the same time.
const GROUPS_PER_TEAM: usize = 4;

/// Rows that fill a register tile.
const TILE_ROWS: usize = 8;

/// The split of a batch among threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Number of teams. Each takes one group after the other.
    pub teams: usize,
    /// Number of threads in a team, which share every product; 1 needs no barriers.
    pub members: usize,
    /// Number of threads for work that is not split by sequences, such as the weights' gradients.
    pub sharing: usize,
    /// Groups of sequences, as ranges of [`Sequences::order`]; at most [`MAX_ROWS_PER_STEP`] each.
    pub groups: Vec<Range<usize>>,
}

impl Plan {
    /// Returns the cheapest split of a batch among up to `threads` threads.
    pub fn new(dims: &Dims, sequences: &Sequences, threads: usize) -> Self {
        let mut best = Self::split(sequences, 1, 1);
        let mut least = best.cost(dims, sequences);
        // More threads cannot help if signalling them takes longer than the work.
        if least > SIGNAL_NS && threads > 1 {
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

    /// Returns the number of threads of all teams.
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
            let wanted = if equal { teams } else { teams * GROUPS_PER_TEAM };
            groups = groups.max(wanted.min(count.div_ceil(TILE_ROWS)).max(teams)).next_multiple_of(teams);
        }
        let bound = |group: usize| group * count / groups.max(1);
        let groups = (0..groups).map(|group| bound(group)..bound(group + 1)).filter(|g| !g.is_empty()).collect();
        Self { teams, members, sharing: teams * members, groups }
    }

    /// Estimates the time in nanoseconds: each group goes to the team that is ready first.
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
        if self.threads() > 1 { last + SIGNAL_NS } else { last }
    }

    /// Estimates the time of a group whose longest sequence has `longest` steps and whose sequences have `steps` in
    /// all.
    fn group_cost(&self, dims: &Dims, longest: f64, steps: f64) -> f64 {
        let (members, hidden) = (self.members as f64, dims.hidden_size as f64);
        let barrier = if self.members > 1 { BARRIER_NS * libm::log2(members) } else { 0.0 };
        // A step of reset-before is two dependent products. The input projection covers many steps and does not count.
        let barriers = if dims.reset_after { 1.0 } else { 2.0 } * barrier;
        let bytes = size_of::<f32>() as f64 * 3.0 * hidden * hidden / members;
        let from_cache = CACHE_BYTES.min(bytes);
        let reading = from_cache / CACHE_BYTES_PER_NS + (bytes - from_cache) / SHARED_BYTES_PER_NS;
        let from_memory = (bytes - LAST_CACHE_BYTES / members).max(0.0) / MEMORY_BYTES_PER_NS;
        let cell = |layer| {
            let input = dims.layer_input(layer) as f64;
            let recurrent = 6.0 * hidden * hidden / members / FLOP_PER_NS;
            let projection = 6.0 * hidden * input / members / FLOP_PER_NS;
            longest * (STEP_NS + barriers + from_memory)
                + (longest * reading).max(steps * recurrent)
                + steps * projection
        };
        dims.directions() as f64 * (0..dims.num_layers).map(cell).sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dims(input_size: usize, hidden_size: usize) -> Dims {
        Dims::new(input_size, hidden_size)
    }

    fn plan(dims: &Dims, batch: usize, time: usize, threads: usize) -> Plan {
        Plan::new(dims, &Sequences::padded(batch, time, None).unwrap(), threads)
    }

    #[test]
    fn every_sequence_is_in_exactly_one_group_and_groups_fit_a_step() {
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
        // More rows, but weights that exceed all caches: it is better to read them once than once per thread.
        let memory = plan(&dims(512, 2048), 16, 20, 2);
        assert_eq!((memory.teams, memory.members), (1, 2));
        // Both splits at once, where neither alone keeps all threads busy.
        let plan = plan(&dims(512, 1024), 16, 100, 64);
        assert!(plan.members > 1 && plan.threads() == 64, "{plan:?}");
    }

    /// More threads are never estimated to be slower, and they help while there is enough work.
    #[test]
    fn more_threads_cost_no_more() {
        for (batch, time, hidden) in [(1, 100, 64), (1, 100, 1024), (7, 50, 300), (32, 100, 128), (1000, 20, 64)] {
            let (dims, sequences) = (dims(hidden, hidden), Sequences::padded(batch, time, None).unwrap());
            let cost = |threads| Plan::new(&dims, &sequences, threads).cost(&dims, &sequences);
            for threads in [1, 2, 4, 8, 16, 32, 64] {
                assert!(cost(2 * threads) <= cost(threads), "{batch} {time} {hidden}: {threads} threads doubled");
            }
            let work = cost(1);
            if work > 100.0 * SIGNAL_NS {
                assert!(cost(8) < work / 3.0, "{batch} {time} {hidden}: {} of {work}", cost(8));
            }
        }
    }
}
