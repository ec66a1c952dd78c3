//! Matrix products, all made of one register tile.

pub mod dot;
pub mod matmul;
pub mod pack;
pub mod tile;
pub mod weight_grad;
