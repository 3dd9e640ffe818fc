//! Gorse's HTTP conventions over actix-web: own routing, bodies, parameters and headers.
//!
//! actix-web matches routes by regular expressions on the undecoded path, one after the other; clients here
//! rely on trailing slashes, empty trailing segments and decoded segments, and one route is asked a thousand
//! times more often than all others. So the whole prefix is one actix service with a table of its own.

pub(crate) mod admission;
pub(crate) mod body;
pub(crate) mod call;
pub(crate) mod cors;
pub(crate) mod duration;
pub(crate) mod measures;
pub(crate) mod path;
pub(crate) mod query;
pub(crate) mod request_id;
pub(crate) mod router;
pub(crate) mod service;
pub(crate) mod spans;
pub(crate) mod ticket;
