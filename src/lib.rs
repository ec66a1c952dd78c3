//! The gated recurrent unit, forward and backward, on all cores of a CPU.
//!
//! ```text
//! arrays -> sizes checked (shape) -> packed weights (packed) -> who computes what (plan) -> thread pool (runtime)
//!   -> stack of layers and directions over groups of sequences (sequence)
//!     -> input projection, then step by step the recurrent product with the cell's equations (kernels, cell)
//!       -> outputs, and in training the tape, which the backward walk reads
//! ```
//!
//! Every output is one chain of fused multiply-adds in a fixed order, so its bits do not depend on the batch, the
//! threads or the instruction set. [`Gru`] is the layer; [`sequence`] has forward and backward over slices.

#![deny(unsafe_code)]

pub mod cell;
#[forbid(unsafe_code)]
pub mod error;
pub mod gemm;
#[forbid(unsafe_code)]
pub mod gru;
pub mod memory;
#[forbid(unsafe_code)]
pub mod reference;
#[forbid(unsafe_code)]
pub mod rnn;
#[forbid(unsafe_code)]
pub mod sessions;
#[forbid(unsafe_code)]
pub mod shape;
pub mod simd;
pub mod threads;
#[forbid(unsafe_code)]
pub mod train;

pub use error::Error;
pub use gru::Gru;
pub use shape::Dims;

#[cfg(feature = "python")]
mod python;

/// The examples of the guide, as tests.
#[cfg(doctest)]
#[doc = include_str!("../docs/guides/rust.md")]
struct Guide;
