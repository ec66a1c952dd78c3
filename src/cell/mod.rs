//! The GRU cell: its equations, one step forward and backward, its weights.

#[forbid(unsafe_code)]
pub mod activation;
#[allow(unsafe_code)]
pub mod backward;
#[forbid(unsafe_code)]
pub mod equations;
#[allow(unsafe_code)]
pub mod finish;
#[allow(unsafe_code)]
pub mod forward;
#[allow(unsafe_code)]
pub mod functions;
#[allow(unsafe_code)]
pub mod kernels;
#[forbid(unsafe_code)]
pub mod norm;
#[allow(unsafe_code)]
pub mod norm_step;
#[allow(unsafe_code)]
pub mod single;
#[allow(unsafe_code)]
pub mod step;
#[allow(unsafe_code)]
pub mod step_args;
#[allow(unsafe_code)]
pub mod step_back;
#[forbid(unsafe_code)]
pub mod weights;

pub use kernels::Real;
