//! Threads: one process-local pool, safe after fork, and how many of them.
//!
//! Everything that runs in parallel goes through [`execute`]; nothing else touches rayon.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;

use crate::error::Error;

/// How often a caller is asked whether to stop.
const POLL: Duration = Duration::from_millis(50);

/// With more the pool spends its time on finding work.
const MOST_THREADS: usize = 1024;

/// Threads asked for by [`set_num_threads`]; 0: not set.
static SETTING: AtomicUsize = AtomicUsize::new(0);

/// The pool in use. rayon's threads do not survive fork, so a pool of another process is never used again.
static POOL: ArcSwapOption<Pool> = ArcSwapOption::const_empty();

struct Pool {
    process: u32,
    threads: usize,
    rayon: rayon::ThreadPool,
}

/// Sets the number of threads; `None` goes back to the environment's.
///
/// # Errors
/// 0, or more than 1024 threads.
pub fn set_num_threads(n: Option<usize>) -> Result<(), Error> {
    if let Some(n) = n {
        check_threads("n", &n.to_string(), n)?;
    }
    SETTING.store(n.unwrap_or(0), Ordering::Relaxed);
    Ok(())
}

/// Threads that a large computation uses: [`set_num_threads`], else `RGRU_NUM_THREADS`, else `OMP_NUM_THREADS`, else
/// the physical cores that this process may use (affinity and cgroup quota respected).
///
/// # Errors
/// `RGRU_NUM_THREADS` is no number of threads.
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
    // A list gives the threads of nested levels; the first is ours. What OpenMP would not accept is not for us to judge.
    let openmp = std::env::var("OMP_NUM_THREADS").ok();
    let openmp = openmp.and_then(|text| text.split(',').next()?.trim().parse().ok());
    Ok(openmp.filter(|&n| (1..=MOST_THREADS).contains(&n)).unwrap_or_else(allowed_cores))
}

/// Physical cores that this process may use. Looked up once a process (a child may have another affinity): it reads
/// files, which would cost more than a small step.
fn allowed_cores() -> usize {
    static FOUND: AtomicU64 = AtomicU64::new(0);
    let process = u64::from(std::process::id()) << 32;
    let found = FOUND.load(Ordering::Relaxed);
    if found & !0xffff_ffff == process {
        return (found & 0xffff_ffff) as usize;
    }
    let allowed = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let cores = allowed.min(num_cpus::get_physical()).clamp(1, MOST_THREADS);
    FOUND.store(process | cores as u64, Ordering::Relaxed);
    cores
}

fn check_threads(name: &str, text: &str, n: usize) -> Result<usize, Error> {
    if (1..=MOST_THREADS).contains(&n) {
        return Ok(n);
    }
    Err(Error::value(name, format!("a number of threads in 1..={MOST_THREADS}"), format!("{text:?}").replace('"', "'")))
}

/// The pool with `threads` threads of this process.
fn pool(threads: usize) -> Result<Arc<Pool>, Error> {
    let process = std::process::id();
    let current = POOL.load_full();
    if let Some(pool) = &current
        && pool.process == process
        && pool.threads == threads
    {
        return Ok(Arc::clone(pool));
    }
    let rayon = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|i| format!("rgru-{i}"))
        .build()
        .map_err(|error| Error::value("threads", format!("{threads} threads to start"), error.to_string()))?;
    let new = Arc::new(Pool { process, threads, rayon });
    let old = POOL.swap(Some(Arc::clone(&new)));
    if let Some(old) = old.filter(|old| old.process != process) {
        // Its threads, and perhaps locks they held, stayed behind in the parent: never to be touched, not even dropped.
        std::mem::forget(old);
    }
    if let Some(stale) = current.filter(|pool| pool.process != process) {
        std::mem::forget(stale);
    }
    Ok(new)
}

/// Asks whether to go on; [`Error::Interrupted`] if not.
pub type Check<'a> = &'a (dyn Fn() -> Result<(), Error> + Sync);

/// Asked of the caller now and then: true to stop.
pub type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// Calls `work` with every item, on `threads` threads of the pool, or on the caller's thread if `threads` is 1.
///
/// `stop` is called on the caller's thread about every 50 ms; once it returns true the `Check` that `work` gets fails.
/// Items should come in order of size, largest first.
///
/// # Errors
/// The first error of `work`, or no threads can be started.
pub fn execute<I: Send>(
    threads: usize,
    items: Vec<I>,
    stop: Stop,
    work: impl Fn(I, Check) -> Result<(), Error> + Sync,
) -> Result<(), Error> {
    if threads <= 1 || items.len() <= 1 {
        let start = Instant::now();
        let next = AtomicU64::new(POLL.as_millis() as u64);
        let check = || {
            let now = start.elapsed().as_millis() as u64;
            if now >= next.load(Ordering::Relaxed) {
                next.store(now + POLL.as_millis() as u64, Ordering::Relaxed);
                if stop() {
                    return Err(Error::Interrupted);
                }
            }
            Ok(())
        };
        return items.into_iter().try_for_each(|item| work(item, &check));
    }
    let pool = pool(threads)?;
    let stopped = AtomicBool::new(false);
    let left = Mutex::new(items.len());
    let done = Condvar::new();
    let failure = Mutex::new(None);
    let check = || if stopped.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) };
    pool.rayon.in_place_scope(|scope| {
        for item in items {
            let (left, done, failure, check, work) = (&left, &done, &failure, &check, &work);
            scope.spawn(move |_| {
                // Counted down even when `work` panics, so that the caller wakes and rayon hands the panic on.
                let _finished = Countdown { left, done };
                if let Err(error) = check().and_then(|()| work(item, check)) {
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            });
        }
        let mut waiting = left.lock().unwrap_or_else(PoisonError::into_inner);
        while *waiting > 0 {
            let result = done.wait_timeout(waiting, POLL).unwrap_or_else(PoisonError::into_inner);
            waiting = result.0;
            if result.1.timed_out() && !stopped.load(Ordering::Relaxed) {
                drop(waiting);
                stopped.store(stop(), Ordering::Relaxed);
                waiting = left.lock().unwrap_or_else(PoisonError::into_inner);
            }
        }
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// Counts a finished item down.
struct Countdown<'a> {
    left: &'a Mutex<usize>,
    done: &'a Condvar,
}

impl Drop for Countdown<'_> {
    fn drop(&mut self) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        *left -= 1;
        if *left == 0 {
            self.done.notify_one();
        }
    }
}
