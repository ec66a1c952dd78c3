//! The integration tests, a subject each.

mod activation;
mod common;
#[cfg(feature = "files")]
mod damaged_files;
#[cfg(feature = "files")]
mod files;
mod golden_bits;
mod layers;
mod reference;
mod same_bits;
#[cfg(feature = "files")]
mod serve;
