//! Files that the Python package has saved: their format, the settings of a GRU in them, and its weights.

pub mod gru;
mod model_file;
mod settings;

pub use model_file::{Tensors, restore};
pub use settings::{GruSettings, Named, expect_dtype, parse};
