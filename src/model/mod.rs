//! A model as Python has saved it: a GRU with its scaler and its head, or any layers in a row.
//!
//! `restore` makes its parts of a file's contents: the conversion of the inputs (`inputs`), the layers (`layer`,
//! `chain`) and what becomes of their outputs. `saved` runs them over sequences, `stream` step by step.

mod chain;
mod inputs;
mod layer;
mod parts;
mod restore;
mod saved;
mod stream;

pub use saved::Model;
pub use stream::ModelStream;
