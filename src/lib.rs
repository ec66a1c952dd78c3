//! The gated recurrent unit, forward and backward, on all cores of a CPU.
//!
//! ```text
//! arrays -> sizes checked (shape) -> batch split among threads (rnn::plan) -> threads of the call (threads)
//!   -> stack of layers and directions over groups of sequences, with packed weights (rnn)
//!     -> input projection (gemm), then step by step the recurrent product with the cell's equations (cell)
//!       -> outputs, and in training the tape, which the backward pass reads
//! ```
//!
//! Every output is one chain of fused multiply-adds in a fixed order, so its bits do not depend on the batch, the
//! threads or the instruction set. [`Gru`] is the layer, [`Stream`] runs it step by step, [`Sessions`] keeps the states
//! of many live sequences by key. With the feature `files`, `Gru::load` and `Model::load` read what the Python package
//! has saved.
//!
//! Modules depend on each other in one direction: `simd <- gemm <- cell <- rnn <- train, sessions <- gru <- files <-
//! model`, and `python` above all, with `memory` and `threads` at the level of `simd`. `tests/rust/layers.rs` checks it.

#![deny(unsafe_code)] // allowed in the modules that need it, forbidden in all others

mod cell;
#[forbid(unsafe_code)]
mod error;
#[cfg(feature = "files")]
#[forbid(unsafe_code)]
mod files;
mod gemm;
#[forbid(unsafe_code)]
mod gru;
#[cfg(feature = "ndarray")]
#[forbid(unsafe_code)]
mod gru_ndarray;
mod memory;
#[cfg(feature = "files")]
#[forbid(unsafe_code)]
mod model;
#[forbid(unsafe_code)]
mod options;
#[cfg(feature = "python")]
mod python;
#[forbid(unsafe_code)]
mod reference;
#[forbid(unsafe_code)]
mod rnn;
#[forbid(unsafe_code)]
mod sessions;
#[forbid(unsafe_code)]
mod shape;
mod simd;
mod threads;
#[forbid(unsafe_code)]
mod train;

pub use cell::Real;
pub use error::Error;
pub use gru::Gru;
#[cfg(feature = "files")]
pub use model::{Model, ModelStream};
pub use options::Options;
pub use rnn::{Inputs, Outputs, Stream};
pub use sessions::{Events, Keys, Limits, Sessions, Times};
pub use shape::{Activation, CellOptions, Dims, LayerNorm, Merge, NormForm, Sequences, Tensor};
pub use threads::runtime::{num_threads, set_num_threads};

/// Internals for this crate's tests and benches. Not part of the API: anything here may change at any time.
#[doc(hidden)]
pub mod __internals {
    pub mod cell {
        pub use crate::cell::*;
    }
    pub mod gemm {
        pub use crate::gemm::*;
    }
    pub mod memory {
        pub use crate::memory::*;
    }
    pub mod reference {
        pub use crate::reference::*;
    }
    pub mod rnn {
        pub use crate::rnn::*;
    }
    pub mod sessions {
        pub use crate::sessions::*;
    }
    pub mod shape {
        pub use crate::shape::*;
    }
    pub mod simd {
        pub use crate::simd::*;
    }
    pub mod threads {
        pub use crate::threads::*;
    }
    pub mod train {
        pub use crate::train::*;
    }
}

/// Runs the examples of the guide as tests.
#[cfg(all(doctest, feature = "files", feature = "ndarray"))]
#[doc = include_str!("../docs/guides/rust.md")]
struct Guide;
