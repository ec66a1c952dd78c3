//! A team of threads that runs single kernel calls in lock-step, with a spin barrier: between two steps of a recurrence
//! there is no time to wake a thread.
//!
//! The leader runs through the sequences and posts one job after the other. Each helper does its part of a job, and the
//! leader does the first part. A job is cut into parts for the helpers that have arrived so far.

use std::cell::Cell;
use std::ops::Range;
use std::time::Duration;

use crate::threads::sync::{
    AtomicBool, AtomicU64, AtomicUsize, Instant, Ordering, SPIN_LIMIT, UnsafeCell, spin_loop, thread,
};

/// How many jobs a leader does alone after a helper has held it up. The number doubles each time that this repeats.
const BACKOFF: Range<usize> = 32..4096;

/// The value of [`TeamBarrier::posted`] that means: no more jobs.
const CLOSED: u64 = u64::MAX;

/// The number of bits of [`TeamBarrier::posted`] that hold the number of parts.
const PARTS_BITS: u32 = 16;

/// A job, called with i and n for part i of n.
type Job<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// The state by which a leader and its helpers synchronise.
pub struct TeamBarrier {
    /// The number of helpers that have arrived.
    arrived: AtomicUsize,
    /// The job's number in the high bits and its number of parts in the low ones. It changes with every job.
    posted: AtomicU64,
    /// The number of helpers that are still working on the job.
    busy: AtomicUsize,
    job: UnsafeCell<Option<*const Job<'static>>>,
    /// Whether a leader has arrived, or none is admitted any more.
    led: AtomicBool,
    /// Whether a helper has panicked and left.
    panicked: AtomicBool,
}

// SAFETY: `job` is written only by the one leader (`Team` is neither Sync nor Clone, and `lead` returns one at most)
// while no helper is busy, and read by helpers only between a post that counts them and the leader's wait for them.
unsafe impl Sync for TeamBarrier {}

impl Default for TeamBarrier {
    fn default() -> Self {
        Self {
            arrived: AtomicUsize::new(0),
            posted: AtomicU64::new(0),
            busy: AtomicUsize::new(0),
            job: UnsafeCell::new(None),
            led: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
        }
    }
}

impl TeamBarrier {
    /// Works as a helper until the leader is done.
    pub fn serve(&self) {
        let rank = self.arrived.fetch_add(1, Ordering::AcqRel) + 1;
        let mut seen = 0;
        loop {
            let (posted, _) = wait(|| Some(self.posted.load(Ordering::Acquire)).filter(|&posted| posted != seen));
            if posted == CLOSED {
                return;
            }
            seen = posted;
            let parts = (posted & ((1 << PARTS_BITS) - 1)) as usize;
            if rank >= parts {
                continue; // arrived after the post
            }
            let _done = Countdown(self);
            // SAFETY: this helper is counted, so the leader waits: until `_done` is dropped, the job lives and the cell
            // is not written.
            let job = self.job.with(|job| unsafe { (*job).map(|job| &*job) });
            if let Some(job) = job {
                job(rank, parts);
            }
        }
    }

    /// Makes this thread the leader. The helpers are released when the team is dropped. Returns `None` if there has
    /// been a leader, or if none is admitted any more.
    pub fn lead(&self) -> Option<Team<'_>> {
        let first = !self.led.swap(true, Ordering::AcqRel);
        first.then(|| Team::of(Some(self), Some(Instant::now()))) // lazily, since dropping a Team closes the barrier
    }

    /// Releases the helpers if no leader has arrived, and admits none from now on.
    pub fn dismiss(&self) {
        drop(self.lead());
    }
}

/// A leader with the helpers that have arrived so far, or a single thread. It is not Sync, so only one thread posts
/// jobs, and a job cannot post another.
pub struct Team<'a> {
    barrier: Option<&'a TeamBarrier>,
    since: Option<Instant>,
    jobs: Cell<u32>,
    /// How many jobs the leader still does alone before it uses the helpers again, and how many it did the last time: a
    /// helper that shares its core with another thread holds up every job.
    alone_for: Cell<usize>,
    last_alone: Cell<usize>,
}

impl Team<'_> {
    /// Returns a team of this thread only.
    pub const fn alone() -> Self {
        Self::of(None, None)
    }

    const fn of(barrier: Option<&TeamBarrier>, since: Option<Instant>) -> Team<'_> {
        Team { barrier, since, jobs: Cell::new(0), alone_for: Cell::new(0), last_alone: Cell::new(0) }
    }

    /// Calls `job(i, n)` for every part i of n, each on another thread. Once all helpers have arrived, n stays the
    /// same, so each thread finds the data of its part in its caches.
    #[inline]
    pub fn run(&self, job: impl Fn(usize, usize) + Sync) {
        let helpers = self.barrier.map_or(0, |barrier| barrier.arrived.load(Ordering::Acquire));
        self.jobs.set(self.jobs.get().saturating_add(1));
        match self.barrier {
            Some(barrier) if helpers > 0 && self.alone_for.get() == 0 => {
                let waited = barrier.post(&job, helpers);
                let held_up = waited.is_some_and(|waited| self.is_long(waited));
                let alone = if held_up { (2 * self.last_alone.get()).clamp(BACKOFF.start, BACKOFF.end) } else { 0 };
                self.alone_for.set(alone);
                self.last_alone.set(alone);
            }
            _ => {
                self.alone_for.set(self.alone_for.get().saturating_sub(1));
                job(0, 1);
            }
        }
    }
}

impl Team<'_> {
    /// Returns whether a wait is longer than the mean of the jobs so far. The parts of long jobs end some time apart,
    /// so a fixed limit would not do.
    fn is_long(&self, waited: Duration) -> bool {
        self.since.is_some_and(|since| waited > since.elapsed().saturating_sub(waited) / self.jobs.get())
    }
}

impl Drop for Team<'_> {
    fn drop(&mut self) {
        if let Some(barrier) = self.barrier {
            barrier.posted.store(CLOSED, Ordering::Release);
        }
    }
}

impl TeamBarrier {
    /// Runs a job. Returns how long the leader waited for the helpers, if it had to yield.
    ///
    /// # Panics
    /// If the job panics, here or in a helper.
    fn post(&self, job: &Job<'_>, helpers: usize) -> Option<Duration> {
        #[allow(clippy::transmute_ptr_to_ptr)] // a cast cannot lengthen a lifetime
        // SAFETY: only the lifetime changes. No thread uses the job after this call, which waits for all of them below,
        // also while a panic unwinds.
        let job = unsafe { std::mem::transmute::<*const Job<'_>, *const Job<'static>>(job) };
        // SAFETY: no helper is busy with the previous job.
        self.job.with_mut(|place| unsafe { *place = Some(job) });
        self.busy.store(helpers, Ordering::Relaxed);
        let number = (self.posted.load(Ordering::Relaxed) >> PARTS_BITS) + 1;
        self.posted.store(number << PARTS_BITS | (helpers + 1) as u64, Ordering::Release);
        let join = Join(&self.busy);
        // SAFETY: the job lives until the end of this call.
        unsafe { (*job)(0, helpers + 1) };
        let waited = join.wait();
        assert!(!self.panicked.load(Ordering::Relaxed), "a helper panicked");
        waited
    }
}

/// Counts a helper down when dropped, also while a panic unwinds.
struct Countdown<'a>(&'a TeamBarrier);

impl Drop for Countdown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.panicked.store(true, Ordering::Relaxed);
        }
        self.0.busy.fetch_sub(1, Ordering::Release);
    }
}

/// Waits for the helpers when dropped, also while a panic unwinds.
struct Join<'a>(&'a AtomicUsize);

impl Join<'_> {
    /// Waits. Returns how long that took, if this thread had to yield.
    fn wait(&self) -> Option<Duration> {
        wait(|| (self.0.load(Ordering::Acquire) == 0).then_some(())).1
    }
}

impl Drop for Join<'_> {
    fn drop(&mut self) {
        self.wait();
    }
}

/// Waits until `look` returns something. Also returns how long that took, if this thread had to yield.
fn wait<R>(look: impl Fn() -> Option<R>) -> (R, Option<Duration>) {
    for _ in 0..SPIN_LIMIT {
        if let Some(found) = look() {
            return (found, None);
        }
        spin_loop();
    }
    let since = Instant::now();
    loop {
        if let Some(found) = look() {
            return (found, Some(since.elapsed()));
        }
        thread::yield_now();
    }
}

/// Returns part `i` of `parts` of 0..n.
pub fn share(n: usize, i: usize, parts: usize) -> Range<usize> {
    i * n / parts..(i + 1) * n / parts
}

/// A table of kernels and the threads to run them.
pub struct Engine<'a, K: 'static> {
    /// The table of the instruction set in use.
    pub kernels: &'static K,
    /// The threads that share each call.
    pub team: &'a Team<'a>,
}

impl<K> Clone for Engine<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Engine<'_, K> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helpers_do_not_wait_for_a_leader_that_never_arrives() {
        let barrier = TeamBarrier::default();
        std::thread::scope(|scope| {
            scope.spawn(|| barrier.serve());
            barrier.dismiss();
        });
        assert!(barrier.lead().is_none());
    }

    #[test]
    fn a_dismissal_does_not_affect_a_team_that_has_a_leader() {
        let barrier = TeamBarrier::default();
        std::thread::scope(|scope| {
            let team = barrier.lead().unwrap();
            scope.spawn(|| barrier.serve());
            while barrier.arrived.load(Ordering::Acquire) == 0 {
                std::thread::yield_now();
            }
            barrier.dismiss();
            let parts = AtomicUsize::new(0);
            team.run(|_, n| parts.store(n, Ordering::Relaxed));
            assert_eq!(parts.into_inner(), 2);
        });
    }

    #[test]
    fn a_panic_of_a_helper_reaches_the_leader() {
        let barrier = TeamBarrier::default();
        let scope = || {
            std::thread::scope(|scope| {
                let team = barrier.lead().unwrap();
                scope.spawn(|| std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| barrier.serve())));
                while barrier.arrived.load(Ordering::Acquire) == 0 {
                    std::thread::yield_now();
                }
                team.run(|i, _| assert!(i == 0, "on purpose"));
            });
        };
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(scope)).is_err());
    }

    #[test]
    fn a_wait_is_long_compared_with_the_jobs_before() {
        let barrier = TeamBarrier::default();
        let team = Team::of(Some(&barrier), Instant::now().checked_sub(Duration::from_secs(100)));
        team.jobs.set(10);
        assert!(!team.is_long(Duration::from_secs(1)), "for jobs of ten seconds");
        assert!(team.is_long(Duration::from_secs(60)));
    }

    #[test]
    fn every_part_of_every_job_is_done_once() {
        let barrier = TeamBarrier::default();
        let done = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let team = barrier.lead().unwrap();
            for job in 0..1000 {
                if job == 10 || job == 500 {
                    scope.spawn(|| barrier.serve());
                }
                let (parts, sum) = (AtomicUsize::new(0), AtomicUsize::new(0));
                team.run(|i, n| {
                    parts.store(n, Ordering::Relaxed);
                    sum.fetch_add(i + 1, Ordering::Relaxed);
                });
                let n = parts.into_inner();
                assert_eq!(sum.into_inner(), n * (n + 1) / 2, "job {job} of {n} parts");
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
        assert_eq!(done.into_inner(), 1000);
    }
}
