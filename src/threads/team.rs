//! A team of threads that runs single kernel calls in lock-step, with a spin barrier: between two steps of a recurrence
//! there is no time to wake a thread.
//!
//! The leader goes through the sequences and posts one job after the other. Each helper does its part of a job, and the
//! leader does the first part. A job is cut into parts for the helpers that have arrived; later ones are not waited for.

use std::cell::Cell;
use std::ops::Range;
use std::time::Duration;

use crate::threads::sync::{
    AtomicBool, AtomicU64, AtomicUsize, Instant, Ordering, SPIN_LIMIT, UnsafeCell, spin_loop, thread,
};

/// Jobs that a leader does alone after a helper held it up: doubled each time that it happens in a row.
const BACKOFF: Range<usize> = 32..4096;

/// Value of [`TeamBarrier::posted`]: no more jobs.
const CLOSED: u64 = u64::MAX;

/// Bits of [`TeamBarrier::posted`] that hold the number of parts.
const PARTS_BITS: u32 = 16;

/// Part `i` of `n`.
type Job<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// Where a leader and its helpers synchronise.
pub struct TeamBarrier {
    /// Helpers that have arrived.
    arrived: AtomicUsize,
    /// Number of the job in the high bits, its parts in the low ones; changes with every job.
    posted: AtomicU64,
    /// Helpers that are still working on it.
    busy: AtomicUsize,
    job: UnsafeCell<Option<*const Job<'static>>>,
    /// A leader has arrived, or none may any more.
    led: AtomicBool,
    /// A helper has panicked, and is gone.
    panicked: AtomicBool,
}

// SAFETY: `job` is written by the one leader (`Team` is neither Sync nor Clone, and `lead` gives one) while no helper is
// busy, and read by helpers only between a post that counts them in and the leader's wait for them.
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
    /// Takes part as a helper until the leader is done.
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
            // SAFETY: counted in, so the leader waits: until `_done` is dropped the job stays and is not written.
            let job = self.job.with(|job| unsafe { (*job).map(|job| &*job) });
            if let Some(job) = job {
                job(rank, parts);
            }
        }
    }

    /// Becomes the leader; the helpers are released when the team is dropped. `None` if there has been a leader, or if
    /// none is wanted any more.
    pub fn lead(&self) -> Option<Team<'_>> {
        let first = !self.led.swap(true, Ordering::AcqRel);
        first.then(|| Team::of(Some(self), Some(Instant::now()))) // lazily: a Team that is dropped closes
    }

    /// Releases the helpers if no leader has arrived, and admits none from now on.
    pub fn dismiss(&self) {
        drop(self.lead());
    }
}

/// A leader with the helpers that have arrived so far; or a single thread. It is not Sync: one thread posts jobs, and a
/// job cannot post another.
pub struct Team<'a> {
    barrier: Option<&'a TeamBarrier>,
    since: Option<Instant>,
    jobs: Cell<u32>,
    /// Jobs that the leader does alone before it uses the helpers again, and how many there were the last time: a helper
    /// without a core of its own holds up every job.
    alone_for: Cell<usize>,
    last_alone: Cell<usize>,
}

impl Team<'_> {
    /// A single thread.
    pub const fn alone() -> Self {
        Self::of(None, None)
    }

    const fn of(barrier: Option<&TeamBarrier>, since: Option<Instant>) -> Team<'_> {
        Team { barrier, since, jobs: Cell::new(0), alone_for: Cell::new(0), last_alone: Cell::new(0) }
    }

    /// Calls `job(i, n)` for every part i of n, each on a thread of its own. n stays the same from job to job once all
    /// helpers have arrived, so each thread finds in its caches what it used before.
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
    /// Whether a wait is long compared with the mean of the jobs so far: parts of long jobs end some time apart.
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
    /// Runs a job; returns how long a helper was waited for, if the leader had to yield.
    ///
    /// # Panics
    /// If the job panics, here or in a helper.
    fn post(&self, job: &Job<'_>, helpers: usize) -> Option<Duration> {
        #[allow(clippy::transmute_ptr_to_ptr)] // a cast cannot lengthen a lifetime
        // SAFETY: only the lifetime changes; no thread uses the job after this call, which waits below, panic or not.
        let job = unsafe { std::mem::transmute::<*const Job<'_>, *const Job<'static>>(job) };
        // SAFETY: no helper is busy with the job before.
        self.job.with_mut(|place| unsafe { *place = Some(job) });
        self.busy.store(helpers, Ordering::Relaxed);
        let number = (self.posted.load(Ordering::Relaxed) >> PARTS_BITS) + 1;
        self.posted.store(number << PARTS_BITS | (helpers + 1) as u64, Ordering::Release);
        let join = Join(&self.busy);
        // SAFETY: just posted.
        unsafe { (*job)(0, helpers + 1) };
        let waited = join.wait();
        assert!(!self.panicked.load(Ordering::Relaxed), "a helper panicked");
        waited
    }
}

/// Counts a helper down when dropped; also while a panic unwinds.
struct Countdown<'a>(&'a TeamBarrier);

impl Drop for Countdown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.panicked.store(true, Ordering::Relaxed);
        }
        self.0.busy.fetch_sub(1, Ordering::Release);
    }
}

/// Waits for the helpers when dropped; also while a panic unwinds.
struct Join<'a>(&'a AtomicUsize);

impl Join<'_> {
    /// Returns how long, if this thread had to yield.
    fn wait(&self) -> Option<Duration> {
        wait(|| (self.0.load(Ordering::Acquire) == 0).then_some(())).1
    }
}

impl Drop for Join<'_> {
    fn drop(&mut self) {
        self.wait();
    }
}

/// Waits until `look` finds something; also returns how long, if this thread had to yield.
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
    fn a_dismissal_leaves_a_leader_alone() {
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
        assert!(!team.is_long(Duration::from_secs(1)), "of jobs of ten seconds");
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
