//! The event path in a world where everything fails: production gateways, ingesters and followers on one seeded runtime
//! whose time is simulated, over a log, a store and a cache whose faults are drawn from the seed.
//!
//! [`search()`] makes runs and says which invariants they broke; a run that broke one is made shorter as long as it still does;
//! `regressions/` keeps the steps of runs that failed once.

mod broker;
mod cache;
mod commands;
mod control;
mod disabled;
mod history;
mod node;
mod oracle;
mod random;
mod run;
mod search;
mod shrink;
mod steps;
mod store;
#[cfg(test)]
mod tests;
mod world;

pub use search::{SearchSummary, search};
