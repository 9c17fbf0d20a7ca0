//! The scheduler: asks policy, finds a worker, follows the job to its end.

pub mod placement;
pub mod plan;
pub mod saga;
