//! Import and export of Arrow columns, through the structs of Arrow's C interfaces in Python capsules. No Arrow library
//! is needed.
//!
//! ```text
//! capsules -> owned structs (ffi) -> which columns are sequences (types, layout)
//!   -> the rows, steps and numbers of each chunk, and their faults (array_view, row_spans, scan)
//!     -> NumPy arrays on the same memory, or one pass of conversion (import, gather)
//! NumPy results -> Arrow buffers (data, export) -> capsules (ffi)
//! ```
//!
//! Only `ffi` has `unsafe` code. All other modules see slices whose sizes were checked against the producer's lengths.

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
