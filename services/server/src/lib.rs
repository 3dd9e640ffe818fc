//! The server role: Gorse's REST API over a [`Backend`].
//!
//! [`routes`] is everything as one actix service, [`server::start`] a server around it. The wire contract is
//! Gorse's, except for its defects: see the crate's tests and the project's list of known differences.

mod api;
pub mod backend;
mod decode;
#[cfg(test)]
mod double;
mod encode;
mod error;
pub mod gateway;
mod http;
pub mod ingest;
pub mod live_backend;
pub mod newcomers;
mod overload;
mod parts;
pub mod published;
pub mod readiness;
pub mod server;
pub mod settings;
pub mod settings_desk;

pub use api::{ApiState, health_json, openapi_json, routes};
pub use backend::{Backend, BackendError, ListQuery, Receipt, ScoredItem};
pub use error::ApiError;
pub use http::service::{Api, ApiService, Measurements};
pub use settings::ApiSettings;
