//! The worker pool and the teams under loom: every order in which few threads may run, and every value that they may
//! read from memory then. A lost wake-up is a deadlock here, a missing order of memory a race; each is an error.
//!
//! A program and not a test, since tests in the modules are for threads of the standard library.

mod threads {
    pub mod sync;
    #[allow(dead_code)] // what the models do not use
    #[path = "../../../../src/threads/team.rs"]
    pub mod team;
    #[path = "../../../../src/threads/worker_pool.rs"]
    pub mod worker_pool;
}

use threads::sync::{Arc, AtomicUsize, Ordering, UnsafeCell, thread};
use threads::team::TeamBarrier;
use threads::worker_pool::{Worker, run_with};

/// A number that is written without any synchronisation of its own: loom finds two accesses that nothing orders.
struct Plain(UnsafeCell<usize>);

// SAFETY: what the models check.
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

/// Two calls one after the other: the worker may join each, late or never; what it wrote is seen after the call.
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

/// A leader posts two jobs; each part is done once, and what a helper wrote is seen before the next job.
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

/// A helper waits for a leader that is told, at the same time, not to come: one of the two ends it.
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
