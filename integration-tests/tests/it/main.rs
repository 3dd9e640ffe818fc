//! The whole system, seen from outside: one program, so that it is linked once.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up should stop there")]

mod bad_input;
mod cluster_faults;
mod commands;
mod damage;
mod demonstration;
mod disk_full;
mod feedback_path;
mod freshness;
mod metrics;
mod models;
mod outages;
mod overload;
mod private_servers;
mod rest_contract;
mod restart;
mod settings;
mod shutdown;
mod tls;
mod tracing;
mod writers;
