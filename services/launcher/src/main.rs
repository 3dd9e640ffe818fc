//! The `ulex` program.
fn main() {}
