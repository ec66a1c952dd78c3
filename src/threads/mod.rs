//! Threads: how many, the process-local pool, and the teams that share one call.

pub mod runtime;
pub mod team;
pub mod worker_pool;
