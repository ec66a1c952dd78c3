//! What models and training need besides the GRU.

pub mod head;
pub mod init;
pub mod loss;
pub mod optim;
pub mod scaling;
