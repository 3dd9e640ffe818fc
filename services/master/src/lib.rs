//! The master role: owns the training data, fits models, decides which one is live, and plans refreshes.

pub mod dataset;
pub mod gate;
pub mod leadership;
pub mod membership;
pub mod planner;
pub mod registry;
pub mod schedule;
#[cfg(test)]
mod small_model_set;
pub mod task_board;
pub mod trainer;
pub mod training;
