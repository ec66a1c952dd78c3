//! Arrow in and out, through the structs of its C interfaces in Python's capsules: no Arrow library is needed.
//!
//! ```text
//! capsules -> owned structs (ffi) -> which columns are sequences (kind, layout)
//!   -> rows, steps, numbers of each chunk, and what is wrong with them (node, rows, survey)
//!     -> NumPy arrays over the same memory, or one pass of conversion (import, gather)
//! results of NumPy -> Arrow's buffers (export) -> capsules (ffi)
//! ```
//!
//! `unsafe` is in `ffi` alone. Everything after it meets slices whose sizes were checked against what the producer says.

mod decimal;
mod export;
mod ffi;
mod gather;
mod import;
mod kind;
mod layout;
mod node;
mod refused;
mod rows;
mod survey;

pub use export::{Exported, arrow_numbers, arrow_texts};
pub use import::{arrow_sequences, is_arrow_sequences};
