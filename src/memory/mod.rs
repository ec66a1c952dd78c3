//! Memory: aligned and pooled buffers, fallible allocation, vectors that grow by chunks, and prefetching.

#[forbid(unsafe_code)]
pub mod aligned;
#[forbid(unsafe_code)]
pub mod buffer_pool;
#[forbid(unsafe_code)]
pub mod chunked_vec;
#[allow(unsafe_code)]
pub mod prefetch;
#[forbid(unsafe_code)]
pub mod try_alloc;
