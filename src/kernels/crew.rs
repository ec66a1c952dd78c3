//! The threads that share single kernel calls: between two steps of a recurrence there is no time to wake anyone, so
//! they wait awake.
//!
//! The leader walks the sequences and posts one job after the other; each helper does its part of a job, the leader
//! the first. A helper that has not come yet is not waited for: the parts are made for those present.

use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::Kernels;

/// Looks at a flag before a waiting thread lets others run: some tens of microseconds.
pub(super) const PATIENCE: usize = 1 << 12;

/// Of [`Muster::posted`]: no more jobs.
const CLOSED: u64 = u64::MAX;

/// Bits of [`Muster::posted`] for the number of parts.
const PARTS_BITS: u32 = 16;

/// Part `i` of `n`.
type Job<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// Where a leader and the helpers meet.
pub struct Muster {
    /// Helpers that have come.
    arrived: AtomicUsize,
    /// Number of the job above, its parts below; changes with every job.
    posted: AtomicU64,
    /// Helpers still at work on it.
    busy: AtomicUsize,
    job: UnsafeCell<Option<*const Job<'static>>>,
    /// A leader has come, or none will be let in.
    led: AtomicBool,
}

// SAFETY: `job` is written by the one leader (`Crew` is neither Sync nor Clone, and `lead` gives one) while no helper is
// busy, and read by helpers only between a post that counts them in and the leader's wait for them.
unsafe impl Sync for Muster {}
// SAFETY: as above; the pointer is used only while the leader, who owns what it points to, waits.
unsafe impl Send for Muster {}

impl Default for Muster {
    fn default() -> Self {
        Self {
            arrived: AtomicUsize::new(0),
            posted: AtomicU64::new(0),
            busy: AtomicUsize::new(0),
            job: UnsafeCell::new(None),
            led: AtomicBool::new(false),
        }
    }
}

impl Muster {
    /// Takes part as a helper until the leader is done.
    pub fn serve(&self) {
        let rank = self.arrived.fetch_add(1, Ordering::AcqRel) + 1;
        let mut seen = 0;
        loop {
            let posted = wait(|| Some(self.posted.load(Ordering::Acquire)).filter(|&posted| posted != seen));
            if posted == CLOSED {
                return;
            }
            seen = posted;
            let parts = (posted & ((1 << PARTS_BITS) - 1)) as usize;
            if rank >= parts {
                continue; // came after the post
            }
            let _done = Countdown(&self.busy);
            // SAFETY: counted in, so the leader waits: until `_done` is dropped the job stays and is not written.
            let job = unsafe { (*self.job.get()).map(|job| &*job) };
            if let Some(job) = job {
                job(rank, parts);
            }
        }
    }

    /// The leader's side; the helpers are let go when it is dropped. `None` if there has been a leader, or if none is
    /// wanted any more.
    pub fn lead(&self) -> Option<Crew<'_>> {
        let first = !self.led.swap(true, Ordering::AcqRel);
        first.then(|| Crew { muster: Some(self), alone: PhantomData }) // lazily: a Crew that is dropped closes
    }

    /// Lets the helpers go if no leader has come, and takes none from now on.
    pub fn dismiss(&self) {
        drop(self.lead());
    }
}

/// A leader with the helpers that have come so far; or a thread by itself.
pub struct Crew<'a> {
    muster: Option<&'a Muster>,
    /// Not Sync: jobs are posted by one thread, and a job cannot post another.
    alone: PhantomData<Cell<()>>,
}

impl Crew<'_> {
    /// A thread by itself.
    pub const fn alone() -> Self {
        Self { muster: None, alone: PhantomData }
    }

    /// Calls `job(i, n)` for every part i of n, each on a thread of its own. n stays the same from job to job once all
    /// helpers have come, so each thread finds in its caches what it used before.
    #[inline]
    pub fn run(&self, job: impl Fn(usize, usize) + Sync) {
        let helpers = self.muster.map_or(0, |muster| muster.arrived.load(Ordering::Acquire));
        match self.muster {
            Some(muster) if helpers > 0 => muster.post(&job, helpers),
            _ => job(0, 1),
        }
    }
}

impl Drop for Crew<'_> {
    fn drop(&mut self) {
        if let Some(muster) = self.muster {
            muster.posted.store(CLOSED, Ordering::Release);
        }
    }
}

impl Muster {
    fn post(&self, job: &Job<'_>, helpers: usize) {
        #[allow(clippy::transmute_ptr_to_ptr)] // a cast cannot lengthen a lifetime
        // SAFETY: only the lifetime changes; nobody uses the job after this call, which waits below, panic or not.
        let job = unsafe { std::mem::transmute::<*const Job<'_>, *const Job<'static>>(job) };
        // SAFETY: no helper is busy with the job before.
        unsafe { *self.job.get() = Some(job) };
        self.busy.store(helpers, Ordering::Relaxed);
        let number = (self.posted.load(Ordering::Relaxed) >> PARTS_BITS) + 1;
        self.posted.store(number << PARTS_BITS | (helpers + 1) as u64, Ordering::Release);
        let _all_done = Join(&self.busy);
        // SAFETY: just posted.
        unsafe { (*job)(0, helpers + 1) };
    }
}

/// Counts a helper down, even in a panic.
struct Countdown<'a>(&'a AtomicUsize);

impl Drop for Countdown<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// Waits for the helpers, even in a panic.
struct Join<'a>(&'a AtomicUsize);

impl Drop for Join<'_> {
    fn drop(&mut self) {
        wait(|| (self.0.load(Ordering::Acquire) == 0).then_some(()));
    }
}

/// Until `look` finds something.
fn wait<R>(look: impl Fn() -> Option<R>) -> R {
    for looks in 0.. {
        if let Some(found) = look() {
            return found;
        }
        if looks < PATIENCE {
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }
    unreachable!("looks without end")
}

/// Part `i` of `parts` of 0..n.
pub fn share(n: usize, i: usize, parts: usize) -> Range<usize> {
    i * n / parts..(i + 1) * n / parts
}

/// Kernels and the threads to run them.
pub struct Engine<'a, T: 'static> {
    /// Of the instruction set in use.
    pub kernels: &'static Kernels<T>,
    /// Who shares their work.
    pub crew: &'a Crew<'a>,
}

impl<T> Clone for Engine<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Engine<'_, T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helpers_do_not_wait_for_a_leader_who_never_comes() {
        let muster = Muster::default();
        std::thread::scope(|scope| {
            scope.spawn(|| muster.serve());
            muster.dismiss();
        });
        assert!(muster.lead().is_none());
    }

    #[test]
    fn a_dismissal_leaves_a_leader_alone() {
        let muster = Muster::default();
        std::thread::scope(|scope| {
            let crew = muster.lead().unwrap();
            scope.spawn(|| muster.serve());
            while muster.arrived.load(Ordering::Acquire) == 0 {
                std::thread::yield_now();
            }
            muster.dismiss();
            crew.run(|_, n| assert_eq!(n, 2));
        });
    }

    #[test]
    fn every_part_of_every_job_is_done_once() {
        let muster = Muster::default();
        let done = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let crew = muster.lead().unwrap();
            for job in 0..1000 {
                if job == 10 || job == 500 {
                    scope.spawn(|| muster.serve());
                }
                let (parts, sum) = (AtomicUsize::new(0), AtomicUsize::new(0));
                crew.run(|i, n| {
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
