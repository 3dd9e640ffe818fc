//! From a user and a request to a list, over storage traits.
//!
//! [`service::Recommender`] is what everybody calls; [`pipeline`] is the computation itself.

pub mod catalogue;
pub mod fresh_items;
pub mod history;
pub mod live;
pub mod pipeline;
pub mod plan;
pub mod request;
pub mod service;
#[cfg(test)]
mod two_tastes;
#[cfg(test)]
mod unsteady_store;
