//! The GRU cell: its equations, one step forward and backward, its weights.

pub mod activation;
pub mod backward;
pub mod equations;
pub mod forward;
pub mod kernels;
pub mod step;
pub mod step_back;
pub mod weights;

pub use kernels::Real;
