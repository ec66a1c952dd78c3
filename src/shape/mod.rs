//! The sizes of a model, of its parameters and of a batch of sequences. All validation of sizes is here.

mod cell_options;
mod dims;
mod expect;
#[cfg(any(feature = "python", feature = "files"))]
mod names;
pub mod params;
mod sequences;

pub use cell_options::{Activation, CellOptions, LayerNorm, NormForm};
pub use dims::{Dims, Merge, Tensor};
pub use expect::{expect_last, expect_shape, tuple};
pub use sequences::{SPAN, Sequences};
