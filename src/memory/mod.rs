//! Memory: buffers that are used again, fallible allocation, prefetching.

pub mod aligned;
pub mod buffer_pool;
pub mod chunked_vec;
pub mod prefetch;
pub mod try_alloc;
