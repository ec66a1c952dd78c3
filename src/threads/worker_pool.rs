//! Threads that help with one call after the other.
//!
//! Waking a sleeping thread takes longer than many a call, so a helper that is done stays awake for a while. A call
//! never waits for a helper to come: it invites some, does the work itself, and waits at its end for those alone that
//! have come.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::threads::team::PATIENCE;

/// How long a helper stays awake without work.
const LINGER: Duration = Duration::from_micros(200);

/// Of [`Party::guests`]: nobody may enter any more.
const CLOSED: usize = 1;

/// Of [`Party::guests`]: one helper at work.
const GUEST: usize = 2;

/// What a helper does, given its rank from 1 on.
type Job<'a> = dyn Fn(usize) + Sync + 'a;

/// One call's work that helpers may join.
struct Party {
    job: *const Job<'static>,
    guests: AtomicUsize,
    invited: Vec<Thread>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `job` is used only by guests, which enter before the host closes, and the host, in whose frame the job lives,
// waits for them.
unsafe impl Send for Party {}
// SAFETY: as above; what it points to is Sync.
unsafe impl Sync for Party {}

impl Party {
    /// Wakes helpers rank by rank as branches of a tree, so that many are awake soon.
    fn wake(&self, rank: usize) {
        for next in [2 * rank + 1, 2 * rank + 2] {
            if let Some(helper) = self.invited.get(next - 1) {
                helper.unpark();
            }
        }
    }

    fn attend(&self, rank: usize) {
        self.wake(rank);
        let enter = |guests: usize| (guests & CLOSED == 0).then_some(guests + GUEST);
        if self.guests.fetch_update(Ordering::Acquire, Ordering::Relaxed, enter).is_err() {
            return;
        }
        // SAFETY: entered before the host closed, who waits until this guest has left.
        let job = unsafe { &*self.job };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| job(rank))) {
            self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
        }
        self.guests.fetch_sub(GUEST, Ordering::Release);
    }
}

/// Closes a party and waits for its guests, even in a panic.
struct Host<'a, I: FnMut()> {
    party: &'a Party,
    idle: I,
}

impl<I: FnMut()> Drop for Host<'_, I> {
    fn drop(&mut self) {
        self.party.guests.fetch_or(CLOSED, Ordering::AcqRel);
        let mut looks = 0;
        while self.party.guests.load(Ordering::Acquire) != CLOSED {
            if looks < PATIENCE {
                std::hint::spin_loop();
                looks += 1;
            } else {
                (self.idle)();
                thread::yield_now();
            }
        }
    }
}

/// Calls `own`, and on each of the `helpers` that come in time `job` with a rank from 1 on. Calls `idle` now and then
/// while it waits for them.
///
/// # Panics
/// As `own` or `job` does.
pub fn host(helpers: &[Helper], job: &Job<'_>, own: impl FnOnce(), idle: impl FnMut()) {
    #[allow(clippy::transmute_ptr_to_ptr)] // a cast cannot lengthen a lifetime
    // SAFETY: only the lifetime changes; guests use the job only until `Host` is dropped.
    let job = unsafe { std::mem::transmute::<*const Job<'_>, *const Job<'static>>(job) };
    let invited = helpers.iter().map(|helper| helper.thread.clone()).collect();
    let party = Arc::new(Party { job, guests: AtomicUsize::new(0), invited, panic: Mutex::new(None) });
    for (i, helper) in helpers.iter().enumerate() {
        helper.invite(i + 1, Arc::clone(&party));
    }
    party.wake(0);
    let host = Host { party: &party, idle };
    own();
    drop(host);
    let panic = party.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(panic) = panic {
        resume_unwind(panic);
    }
}

/// A thread that attends one party after the other; it ends when this is dropped.
pub struct Helper {
    mailbox: Arc<Mailbox>,
    thread: Thread,
}

#[derive(Default)]
struct Mailbox {
    invitation: Mutex<Option<(usize, Arc<Party>)>>,
    /// There is an invitation, or [`Mailbox::quit`].
    mail: AtomicBool,
    quit: AtomicBool,
}

impl Helper {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(name: String) -> std::io::Result<Self> {
        let mailbox = Arc::new(Mailbox::default());
        let own = Arc::clone(&mailbox);
        let handle = thread::Builder::new().name(name).spawn(move || own.attend())?;
        Ok(Self { mailbox, thread: handle.thread().clone() })
    }

    fn invite(&self, rank: usize, party: Arc<Party>) {
        *self.mailbox.invitation.lock().unwrap_or_else(PoisonError::into_inner) = Some((rank, party));
        self.mailbox.mail.store(true, Ordering::Release);
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.mailbox.quit.store(true, Ordering::Relaxed);
        self.mailbox.mail.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

impl Mailbox {
    fn attend(&self) {
        loop {
            self.wait();
            if self.quit.load(Ordering::Relaxed) {
                return;
            }
            let invitation = self.invitation.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some((rank, party)) = invitation {
                party.attend(rank);
            }
        }
    }

    /// Until there is mail: awake for a while, then asleep.
    fn wait(&self) {
        let mut looks = 0_usize;
        let mut since = None;
        while !self.mail.swap(false, Ordering::Acquire) {
            looks += 1;
            if looks < PATIENCE {
                std::hint::spin_loop();
            } else if since.get_or_insert_with(Instant::now).elapsed() < LINGER {
                thread::yield_now();
            } else {
                thread::park();
            }
        }
    }
}
