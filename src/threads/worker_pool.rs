//! Parked worker threads that may join a call.
//!
//! Waking a sleeping thread takes longer than many calls do, so a worker stays awake for a while after a call. A call
//! never waits for a worker to wake up: it signals some workers and starts at once. Workers that wake in time join the
//! call, and it waits only for those at its end.

use crate::threads::sync::{
    Arc, AtomicBool, AtomicUsize, Instant, LINGER, Mutex, Ordering, PoisonError, SPIN_LIMIT, Thread, spin_loop, thread,
};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// The bit of [`ParallelCall::joined`] that means: no more workers may join.
const CLOSED: usize = 1;

/// Added to [`ParallelCall::joined`] by each worker while it is in the call.
const ONE_WORKER: usize = 2;

/// The job of a worker, called with its rank, which is at least 1.
type Job<'a> = dyn Fn(usize) + Sync + 'a;

/// The work of one call, which workers may join.
struct ParallelCall {
    job: *const Job<'static>,
    /// [`ONE_WORKER`] for each worker in the call, and [`CLOSED`].
    joined: AtomicUsize,
    signalled: Vec<Thread>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `job` is used only by workers that join before the call is closed, and `run_with`, whose caller owns the job,
// waits for them.
unsafe impl Send for ParallelCall {}
// SAFETY: as above; the job is Sync.
unsafe impl Sync for ParallelCall {}

impl ParallelCall {
    /// Wakes workers as a tree: each wakes two more, so that many are awake soon.
    fn wake(&self, rank: usize) {
        for next in [2 * rank + 1, 2 * rank + 2] {
            if let Some(worker) = self.signalled.get(next - 1) {
                worker.unpark();
            }
        }
    }

    /// Joins the call as a worker, unless it is closed.
    fn join(&self, rank: usize) {
        self.wake(rank);
        let enter = |joined: usize| (joined & CLOSED == 0).then_some(joined + ONE_WORKER);
        if self.joined.fetch_update(Ordering::Acquire, Ordering::Relaxed, enter).is_err() {
            return;
        }
        // SAFETY: this worker joined before the call was closed, so `run_with` waits until it has left.
        let job = unsafe { &*self.job };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| job(rank))) {
            self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
        }
        self.joined.fetch_sub(ONE_WORKER, Ordering::Release);
    }
}

/// Closes a call when dropped and waits for its workers, also while a panic unwinds.
struct CloseOnDrop<'a, I: FnMut()> {
    call: &'a ParallelCall,
    idle: I,
}

impl<I: FnMut()> Drop for CloseOnDrop<'_, I> {
    fn drop(&mut self) {
        self.call.joined.fetch_or(CLOSED, Ordering::AcqRel);
        let mut looks = 0;
        while self.call.joined.load(Ordering::Acquire) != CLOSED {
            if looks < SPIN_LIMIT {
                spin_loop();
                looks += 1;
            } else {
                (self.idle)();
                thread::yield_now();
            }
        }
    }
}

/// Runs `own` on this thread, and `job` on each of the `workers` that wake in time, with its rank (at least 1). Calls
/// `idle` repeatedly while it waits for them at the end.
///
/// # Panics
/// If `own` or `job` panics.
pub fn run_with(workers: &[Worker], job: &Job<'_>, own: impl FnOnce(), idle: impl FnMut()) {
    #[allow(clippy::transmute_ptr_to_ptr)] // a cast cannot lengthen a lifetime
    // SAFETY: only the lifetime changes; workers use the job only until `CloseOnDrop` is dropped.
    let job = unsafe { std::mem::transmute::<*const Job<'_>, *const Job<'static>>(job) };
    let signalled = workers.iter().map(|worker| worker.thread.clone()).collect();
    let call = Arc::new(ParallelCall { job, joined: AtomicUsize::new(0), signalled, panic: Mutex::new(None) });
    for (i, worker) in workers.iter().enumerate() {
        worker.signal(i + 1, Arc::clone(&call));
    }
    call.wake(0);
    let close = CloseOnDrop { call: &call, idle };
    own();
    drop(close);
    let panic = call.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(panic) = panic {
        resume_unwind(panic);
    }
}

/// A thread that joins one call after the other. It ends when this is dropped.
pub struct Worker {
    mailbox: Arc<Mailbox>,
    thread: Thread,
}

#[derive(Default)]
struct Mailbox {
    call: Mutex<Option<(usize, Arc<ParallelCall>)>>,
    /// Whether there is a call to join, or [`Mailbox::quit`] is set.
    mail: AtomicBool,
    quit: AtomicBool,
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system cannot start it.
    pub fn start(name: String) -> std::io::Result<Self> {
        let mailbox = Arc::new(Mailbox::default());
        let own = Arc::clone(&mailbox);
        let handle = thread::Builder::new().name(name).spawn(move || own.serve())?;
        Ok(Self { mailbox, thread: handle.thread().clone() })
    }

    fn signal(&self, rank: usize, call: Arc<ParallelCall>) {
        *self.mailbox.call.lock().unwrap_or_else(PoisonError::into_inner) = Some((rank, call));
        self.mailbox.set_mail();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.mailbox.quit.store(true, Ordering::Relaxed);
        self.mailbox.set_mail();
        self.thread.unpark();
    }
}

impl Mailbox {
    fn set_mail(&self) {
        // Not a plain store: loom orders read-modify-writes of a flag, but not stores relative to them.
        self.mail.swap(true, Ordering::Release);
    }

    /// Joins calls until the worker is dropped.
    fn serve(&self) {
        loop {
            self.wait();
            if self.quit.load(Ordering::Relaxed) {
                return;
            }
            let call = self.call.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some((rank, call)) = call {
                call.join(rank);
            }
        }
    }

    /// Waits for mail: spins, then yields, then parks.
    fn wait(&self) {
        let mut looks = 0_usize;
        let mut since = None;
        // Read before the swap, which takes the cache line away from the thread that signals.
        while !(self.mail.load(Ordering::Relaxed) && self.mail.swap(false, Ordering::Acquire)) {
            looks += 1;
            if looks < SPIN_LIMIT {
                spin_loop();
            } else if since.get_or_insert_with(Instant::now).elapsed() < LINGER {
                thread::yield_now();
            } else {
                thread::park();
            }
        }
    }
}
