//! defrost: declarative transfer learning.

pub mod autograd;
pub mod digest;
pub mod error;
pub mod ops;
//pub mod pipeline;
pub mod random;
