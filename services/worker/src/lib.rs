//! The worker role: stateless; computes users' lists for whoever planned them. Start as many as you like.

pub mod jobs;
pub mod predictor;
