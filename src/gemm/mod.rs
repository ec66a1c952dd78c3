//! Matrix products, all built from one register tile.

#[forbid(unsafe_code)]
pub mod dot;
#[allow(unsafe_code)]
pub mod kernels;
#[allow(unsafe_code)]
pub mod matmul;
#[forbid(unsafe_code)]
pub mod pack;
#[allow(unsafe_code)]
pub mod product;
#[allow(unsafe_code)]
pub mod row_sum;
#[allow(unsafe_code)]
pub mod tile;
#[allow(unsafe_code)]
pub mod weight_grad;
