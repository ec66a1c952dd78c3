//! Matrix products, all made of one register tile.

pub mod dot;
pub mod kernels;
pub mod matmul;
pub mod pack;
pub mod product;
pub mod row_sum;
pub mod tile;
pub mod weight_grad;
