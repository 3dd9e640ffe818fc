//! Measuring models: reading fixed splits and printing what came out. The training itself is wired in by the program.

pub mod report;
pub mod splits;
