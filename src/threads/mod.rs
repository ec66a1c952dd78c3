//! Threads: how many to use, the pool of the process, and the teams that share one call.

#[forbid(unsafe_code)]
pub mod runtime;
#[forbid(unsafe_code)]
pub mod sync;
#[allow(unsafe_code)]
pub mod team;
#[allow(unsafe_code)]
pub mod worker_pool;
