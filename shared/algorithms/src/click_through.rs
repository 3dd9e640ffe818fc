//! The ranker.

pub mod calibration;
pub mod factorization_machine;
pub mod gradient;
pub mod samples;

pub use factorization_machine::{EpochReport, FactorizationMachine, Fitted, FmError, FmParams, fit};
pub use samples::{FeatureRows, Layout, Samples, parse_libfm};
