//! Training, and the head of a model.

pub mod embedding;
pub mod head;
pub mod init;
pub mod loss;
pub mod optim;
pub mod scaling;
