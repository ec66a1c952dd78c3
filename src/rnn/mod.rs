//! Runs sequences through a stack of layers; independent of Python.
//!
//! `layer` runs one direction of one layer, forward and backward, over a group of sequences, and `group` runs the group
//! through all layers and directions. `plan` decides how a batch is split, `stack` runs it, and `partition` distributes
//! its arrays to the groups. `gradients` sums the weights' gradients over all steps. `checkpoint` trains in little
//! memory, `stream` runs step by step, and `dropout` computes the masks between layers. `merge` makes
//! one output of two directions.

mod arguments;
mod checkpoint;
mod dropout;
mod gradients;
mod group;
mod layer;
mod merge;
pub mod packed_weights;
mod partition;
pub mod plan;
mod stack;
mod states;
mod stream;
mod tape;

pub use arguments::{ForwardArrays, InputGrads, Inputs, OutputGrads, Outputs};
pub use checkpoint::{Checkpoints, backward_checkpoints, forward_checkpoints};
pub use dropout::Masks;
pub use merge::merge;
pub use packed_weights::PackedWeights;
pub use stack::{backward, final_states, forward, forward_tape};
pub use stream::Stream;
pub use tape::Tape;
