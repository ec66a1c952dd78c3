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

pub mod error;
pub mod gru;
pub mod head;
pub mod init;
pub mod kernels;
pub mod loss;
pub mod optim;
pub mod packed;
pub mod params;
pub mod plan;
pub mod reference;
pub mod runtime;
pub mod scaling;
pub mod sequence;
pub mod sessions;
pub mod shape;

pub use error::Error;
pub use gru::Gru;
pub use shape::Dims;

mod cell;
#[cfg(feature = "python")]
mod python;
mod scratch;
