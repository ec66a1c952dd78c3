//! How a sequence is walked; nothing here knows of Python.
//!
//! `layer` walks one direction of one layer, forward and backward, for a group of sequences; `stack` puts layers and
//! directions together and splits the batch; `gradients` sums the weights' gradients over all steps; `stream` goes step
//! by step; `dropout` makes the masks between layers.

mod dropout;
mod gradients;
mod layer;
mod stack;
mod stream;
mod tape;

pub use stack::{backward, forward, forward_tape};
pub use stream::Stream;
pub use tape::Tape;
