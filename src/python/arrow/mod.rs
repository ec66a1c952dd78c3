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

#[forbid(unsafe_code)]
mod array_view;
#[forbid(unsafe_code)]
mod data;
#[forbid(unsafe_code)]
mod decimal;
#[forbid(unsafe_code)]
mod error;
#[forbid(unsafe_code)]
mod export;
#[allow(unsafe_code)]
mod ffi;
#[forbid(unsafe_code)]
mod gather;
#[forbid(unsafe_code)]
mod import;
#[forbid(unsafe_code)]
mod layout;
#[forbid(unsafe_code)]
mod row_spans;
#[forbid(unsafe_code)]
mod scan;
#[forbid(unsafe_code)]
mod types;

pub use export::{Exported, arrow_numbers, arrow_texts};
pub use import::{arrow_sequences, is_arrow_sequences};
