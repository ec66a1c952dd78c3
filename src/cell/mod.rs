//! The GRU cell: its equations, one step forward and backward, its weights.

pub mod activation;
pub mod backward;
pub mod equations;
pub mod forward;
pub mod weights;
