//! The number of threads, and the pool of the process, which is safe after a fork.
//!
//! All parallel work goes through [`Grant::execute`]; nothing else starts threads.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;

use crate::error::Error;
use crate::threads::team::{Team, TeamBarrier};
use crate::threads::worker_pool::{Worker, run_with};

/// The time between two calls of a [`Stop`].
const POLL: Duration = Duration::from_millis(50);

/// More threads than any machine has.
const MAX_THREADS: usize = 1024;

/// The number of threads set by [`set_num_threads`]; 0: not set.
static SETTING: AtomicUsize = AtomicUsize::new(0);

/// The pool in use. Threads do not survive a fork, so a child never uses the pool of its parent.
static POOL: ArcSwapOption<Pool> = ArcSwapOption::const_empty();

struct Pool {
    process: u32,
    threads: usize,
    /// Number of calls in progress that want several threads.
    calls: AtomicUsize,
    /// Workers that no call holds. There are `threads` - 1 in all, since the caller's thread works too.
    free: Mutex<Vec<Worker>>,
}

/// Sets the number of threads that a large computation uses; `None` restores the default.
///
/// ```
/// rgru::set_num_threads(Some(2))?;
/// assert_eq!(rgru::num_threads()?, 2);
/// rgru::set_num_threads(None)?;
/// # Ok::<(), rgru::Error>(())
/// ```
///
/// # Errors
/// [`Error::Value`] if `n` is 0 or more than 1024.
pub fn set_num_threads(n: Option<usize>) -> Result<(), Error> {
    if let Some(n) = n {
        check_threads("n", &n.to_string(), n)?;
    }
    SETTING.store(n.unwrap_or(0), Ordering::Relaxed);
    Ok(())
}

/// Returns the number of threads that a large computation uses: that of [`set_num_threads`], else of the environment
/// variable `RGRU_NUM_THREADS`, else of `OMP_NUM_THREADS`, else the number of physical cores that this process may use
/// (CPU affinity and cgroup quota respected).
///
/// ```
/// assert!(rgru::num_threads()? >= 1);
/// # Ok::<(), rgru::Error>(())
/// ```
///
/// # Errors
/// [`Error::Value`] if `RGRU_NUM_THREADS` is not a number in 1..=1024.
pub fn num_threads() -> Result<usize, Error> {
    match SETTING.load(Ordering::Relaxed) {
        0 => default_threads(),
        n => Ok(n),
    }
}

fn default_threads() -> Result<usize, Error> {
    if let Ok(text) = std::env::var("RGRU_NUM_THREADS") {
        let n = text.trim().parse().unwrap_or(0);
        return check_threads("RGRU_NUM_THREADS", &text, n);
    }
    // A list has the threads of nested levels, of which the first applies. Values that OpenMP would reject are ignored.
    let openmp = std::env::var("OMP_NUM_THREADS").ok();
    let openmp = openmp.and_then(|text| text.split(',').next()?.trim().parse().ok());
    Ok(openmp.filter(|&n| (1..=MAX_THREADS).contains(&n)).unwrap_or_else(allowed_cores))
}

/// Returns the number of physical cores that this process may use. It is found once in each process (a child may have
/// another affinity), because that reads files, which takes longer than a small step.
fn allowed_cores() -> usize {
    static FOUND: AtomicU64 = AtomicU64::new(0);
    let process = u64::from(std::process::id()) << 32;
    let found = FOUND.load(Ordering::Relaxed);
    if found & !0xffff_ffff == process {
        return (found & 0xffff_ffff) as usize;
    }
    let allowed = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let cores = allowed.min(num_cpus::get_physical()).clamp(1, MAX_THREADS);
    FOUND.store(process | cores as u64, Ordering::Relaxed);
    cores
}

fn check_threads(name: &str, text: &str, n: usize) -> Result<usize, Error> {
    if (1..=MAX_THREADS).contains(&n) {
        return Ok(n);
    }
    Err(Error::value(name, format!("a number of threads in 1..={MAX_THREADS}"), format!("{text:?}").replace('"', "'")))
}

/// Returns the pool of this process, with `threads` threads.
fn pool(threads: usize) -> Result<Arc<Pool>, Error> {
    let process = std::process::id();
    let current = POOL.load_full();
    if let Some(pool) = &current
        && pool.process == process
        && pool.threads == threads
    {
        return Ok(Arc::clone(pool));
    }
    let workers = (1..threads).map(|i| Worker::start(format!("rgru-{i}"))).collect::<Result<Vec<_>, _>>();
    let workers = workers.map_err(|error| {
        Error::value("threads", format!("the system to start {threads} threads"), error.to_string())
    })?;
    let new = Arc::new(Pool { process, threads, calls: AtomicUsize::new(0), free: Mutex::new(workers) });
    let old = POOL.swap(Some(Arc::clone(&new)));
    if let Some(old) = old.filter(|old| old.process != process) {
        // Its threads are in the parent process and may have held locks at the fork, so it must not even be dropped.
        std::mem::forget(old);
    }
    if let Some(stale) = current.filter(|pool| pool.process != process) {
        std::mem::forget(stale);
    }
    Ok(new)
}

/// A function that returns [`Error::Interrupted`] if the work should stop.
pub type Check<'a> = &'a (dyn Fn() -> Result<(), Error> + Sync);

/// A function that is called about every 50 ms on the caller's thread, and returns true to stop the call.
pub type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// The threads of one call: the caller's thread, and workers of the pool that are held until this is dropped.
///
/// Concurrent calls share the threads evenly, and a call keeps its threads until its end. No call waits for a thread
/// that another call holds, so calls cannot block each other.
pub struct Grant {
    pool: Option<Arc<Pool>>,
    workers: Vec<Worker>,
}

impl Grant {
    /// Takes up to `threads` threads, the caller's included, as far as they are free.
    ///
    /// # Errors
    /// [`Error::Value`] if the system cannot start threads.
    pub fn new(threads: usize) -> Result<Self, Error> {
        if threads <= 1 {
            return Ok(Self { pool: None, workers: Vec::new() });
        }
        let pool = pool(num_threads()?.max(threads))?;
        let calls = pool.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let wanted = threads.min((pool.threads / calls).max(1)) - 1;
        let mut free = pool.free.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = free.len().saturating_sub(wanted);
        // The workers that were returned last: they may still be awake.
        let workers = free.split_off(rest);
        drop(free);
        Ok(Self { pool: Some(pool), workers })
    }

    /// Returns the number of threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `work` with every item. Teams of `members` threads take one item after the other, and the threads of a
    /// team share its kernels.
    ///
    /// `stop` is called on the caller's thread about every 50 ms. Once it returns true, the `Check` passed to `work`
    /// fails. Items should be sorted by size, largest first.
    ///
    /// # Errors
    /// The first error of `work`.
    pub fn execute<I: Send>(
        &self,
        members: usize,
        items: Vec<I>,
        stop: Stop,
        work: impl Fn(I, &Team, Check) -> Result<(), Error> + Sync,
    ) -> Result<(), Error> {
        let members = members.clamp(1, self.threads());
        let teams = (self.threads() / members).min(items.len());
        let stopped = AtomicBool::new(false);
        let polled = polled(stop, &stopped);
        if teams * members <= 1 {
            return items.into_iter().try_for_each(|item| work(item, &Team::alone(), &polled));
        }
        let check = || if stopped.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) };
        let failure = Mutex::new(None);
        let queue = Mutex::new(items.into_iter());
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let lead = |team: &Team, check: Check| {
            while let Some(item) = next() {
                if let Err(error) = check().and_then(|()| work(item, team, check)) {
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            }
        };
        // Ranks are assigned team by team, to a team's leader first; the caller is rank 0.
        let barriers: Vec<TeamBarrier> = (0..teams).map(|_| TeamBarrier::default()).collect();
        let take_part = |rank: usize, check: Check| {
            let barrier = &barriers[rank / members];
            match rank % members {
                // `None`: all work is done already.
                0 => barrier.lead().iter().for_each(|team| lead(team, check)),
                _ => barrier.serve(),
            }
        };
        let own = || {
            // Helpers of a team may have arrived although its leader has not, and would wait for it.
            let _dismiss = DismissOnDrop(&barriers);
            take_part(0, &polled);
        };
        let idle = || drop(polled());
        let workers = &self.workers[..teams * members - 1];
        run_with(workers, &|rank| take_part(rank, &check), own, idle);
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if let Some(pool) = &self.pool {
            pool.free.lock().unwrap_or_else(PoisonError::into_inner).append(&mut self.workers);
            pool.calls.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Releases helpers that wait for a leader, also while a panic unwinds.
struct DismissOnDrop<'a>(&'a [TeamBarrier]);

impl Drop for DismissOnDrop<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(TeamBarrier::dismiss);
    }
}

/// Returns the check for the caller's thread, which calls `stop` about every 50 ms and stores its answer in `stopped`.
fn polled<'a>(stop: Stop<'a>, stopped: &'a AtomicBool) -> impl Fn() -> Result<(), Error> + Sync + 'a {
    let start = Instant::now();
    let next = AtomicU64::new(POLL.as_millis() as u64);
    move || {
        let now = start.elapsed().as_millis() as u64;
        if now >= next.load(Ordering::Relaxed) {
            next.store(now + POLL.as_millis() as u64, Ordering::Relaxed);
            if !stopped.load(Ordering::Relaxed) {
                stopped.store(stop(), Ordering::Relaxed);
            }
        }
        if stopped.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There are far more threads than cores, so workers join late, in any order, or never.
    #[test]
    fn calls_do_not_wait_for_workers_that_never_join() {
        for call in 0..3000 {
            let grant = Grant::new(8).unwrap();
            let done = AtomicUsize::new(0);
            let work = |item: usize, team: &Team, _: Check| {
                let parts = AtomicUsize::new(0);
                team.run(|_, _| {
                    parts.fetch_add(1, Ordering::Relaxed);
                });
                assert!(parts.into_inner() > 0);
                done.fetch_add(item, Ordering::Relaxed);
                Ok(())
            };
            grant.execute(1 + call % 4, (0..5).collect(), &|| false, work).unwrap();
            assert_eq!(done.into_inner(), 10);
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_leaves_the_threads_usable() {
        for _ in 0..20 {
            let grant = Grant::new(4).unwrap();
            let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                grant.execute(2, (0..4).collect(), &|| false, |item: usize, _, _| {
                    assert!(item != 2, "on purpose");
                    Ok(())
                })
            }));
            assert!(panic.is_err());
        }
        Grant::new(4).unwrap().execute(2, vec![1, 2], &|| false, |_, _, _| Ok(())).unwrap();
    }
}
