//! The whole system, seen from outside: one program, so that it is linked once.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up should stop there")]

mod accidents;
mod bad_input;
mod cluster_faults;
mod commands;
mod damage;
mod demonstration;
mod disk_full;
mod faults_access;
mod faults_followers;
mod faults_limits;
mod faults_log;
mod faults_store;
mod feedback_path;
mod freshness;
mod metrics;
mod models;
mod operations;
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
