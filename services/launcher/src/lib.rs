//! Everything around the roles: what the command line says, how data gets in, how models are measured and how a
//! stranger sees the system work. The program itself is `main.rs`, a table of contents.

pub mod catalogue_follower;
pub mod checksum;
pub mod command_line;
pub mod configuration;
pub mod connection;
pub mod demo;
pub mod evaluate;
pub mod events;
pub mod exit;
pub mod http;
pub mod http_client;
pub mod import;
pub mod measurements;
pub mod models;
pub mod one;
pub mod parts;
pub mod process;
pub mod role;
pub mod roles;
pub mod signals;
pub mod telemetry;
mod vitals;
