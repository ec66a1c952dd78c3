//! Threads: how many, the process-local pool, and the teams that share one call.

#[forbid(unsafe_code)]
pub mod runtime;
#[allow(unsafe_code)]
pub mod team;
#[allow(unsafe_code)]
pub mod worker_pool;
