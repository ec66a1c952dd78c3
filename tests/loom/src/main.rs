//! Checks the worker pool and the teams with loom, in every order in which a few threads may run and with every value
//! that they may then read from memory. A lost wake-up shows as a deadlock, and a memory order that is too weak as a
//! race; each is an error.
//!
//! This is a program and not a test, because the tests in the modules need threads of the standard library.

mod threads {
    pub mod sync;
    #[allow(dead_code)] // the models do not use all of it
    #[path = "../../../../src/threads/team.rs"]
    pub mod team;
    #[path = "../../../../src/threads/worker_pool.rs"]
    pub mod worker_pool;
}

use threads::sync::{Arc, AtomicUsize, Ordering, UnsafeCell, thread};
use threads::team::TeamBarrier;
use threads::worker_pool::{Worker, run_with};

/// A number that is accessed without synchronisation: loom reports any two accesses that nothing else orders.
struct Plain(UnsafeCell<usize>);

// SAFETY: the models check that accesses are ordered.
unsafe impl Sync for Plain {}

impl Plain {
    fn new() -> Self {
        Self(UnsafeCell::new(0))
    }

    fn add(&self, n: usize) {
        // SAFETY: loom checks that no other access is concurrent.
        self.0.with_mut(|place| unsafe { *place += n });
    }

    fn get(&self) -> usize {
        // SAFETY: as above.
        self.0.with(|place| unsafe { *place })
    }
}

/// Two calls one after the other. The worker may join each of them, late or never, and the caller sees what it wrote.
fn calls() {
    let workers = [Worker::start("worker".into()).unwrap()];
    for _ in 0..2 {
        let (joined, written, own) = (AtomicUsize::new(0), Plain::new(), Plain::new());
        let job = |rank: usize| {
            assert_eq!(rank, 1);
            written.add(1);
            joined.fetch_add(1, Ordering::Relaxed);
        };
        run_with(&workers, &job, || own.add(1), || {});
        assert_eq!((written.get(), own.get()), (joined.load(Ordering::Relaxed), 1));
        assert!(written.get() <= 1);
    }
}

/// A leader posts two jobs. Each part is done once, and the leader sees what a helper wrote before the next job.
fn jobs() {
    let barrier = Arc::new(TeamBarrier::default());
    let other = Arc::clone(&barrier);
    let helper = thread::spawn(move || other.serve());
    let parts = [Plain::new(), Plain::new()];
    if let Some(team) = barrier.lead() {
        for job in 1..=2 {
            let done = AtomicUsize::new(0);
            team.run(|i, n| {
                assert!(i < n && n <= 2);
                parts[i].add(1);
                done.fetch_add(n, Ordering::Relaxed);
            });
            assert_eq!(parts[0].get(), job);
            assert!(parts[1].get() <= job && matches!(done.load(Ordering::Relaxed), 1 | 4));
        }
    }
    helper.join().unwrap();
}

/// A leader arrives while the team is dismissed. Either one releases the helper.
fn dismissal() {
    let barrier = Arc::new(TeamBarrier::default());
    let (helping, leading) = (Arc::clone(&barrier), Arc::clone(&barrier));
    let helper = thread::spawn(move || helping.serve());
    let leader = thread::spawn(move || {
        if let Some(team) = leading.lead() {
            team.run(|i, n| assert!(i < n));
        }
    });
    barrier.dismiss();
    leader.join().unwrap();
    helper.join().unwrap();
}

fn main() {
    let models: [(&str, fn()); 3] = [("jobs", jobs), ("dismissal", dismissal), ("calls", calls)];
    for (name, model) in models {
        let runs = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = std::sync::Arc::clone(&runs);
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            model();
        });
        println!("{name}: {} orders", runs.load(Ordering::Relaxed));
    }
}
