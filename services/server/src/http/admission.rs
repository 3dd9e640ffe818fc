//! Admission of a request to a route: keys, and for settings without a key the address it came from.
//!
//! | route | `master.admin_api_key` set | only `server.api_key` set | neither, dashboard login | neither |
//! |---|---|---|---|---|
//! | [`Access::Open`] | open | open | open | open |
//! | [`Access::Key`] | open unless `server.api_key` is set | API key or admin key | open | open |
//! | [`Access::Login`] | admin key if there is a login | closed if there is a login | closed | open |
//! | [`Access::Settings`] | admin key | API key | closed | this host only |
//!
//! "This host" is a peer address and a `Host` that are both loopback, without a header of a proxy. The `Host` keeps
//! a page out whose name an attacker resolves to 127.0.0.1; an `Origin` that is neither the service's own nor listed
//! in `master.http_cors_domains` is refused on these routes, because a browser sends some requests without asking first.

use std::net::IpAddr;

use actix_web::HttpRequest;
use actix_web::http::header::{FORWARDED, HOST, HeaderMap, HeaderValue, ORIGIN};

use super::cors;
use super::router::Access;
use crate::error::ApiError;
use crate::settings::ApiSettings;

/// Checks that the request may use a route with this access.
pub(crate) fn admit(request: &HttpRequest, access: Access, settings: &ApiSettings) -> Result<(), ApiError> {
    let headers = request.headers();
    let may_pass = match access {
        Access::Open => true,
        Access::Key => has_api_key(headers, settings),
        Access::Login => !settings.dashboard_login || is_key(headers, &settings.admin_api_key),
        Access::Settings => return admit_to_settings(request, settings),
    };
    if may_pass { Ok(()) } else { Err(ApiError::Unauthorized) }
}

fn admit_to_settings(request: &HttpRequest, settings: &ApiSettings) -> Result<(), ApiError> {
    let headers = request.headers();
    if !has_trusted_origin(headers, settings) {
        return Err(ApiError::Forbidden(
            "pages of other origins may not use the settings: expected their origin in master.http_cors_domains",
        ));
    }
    let keys = [&settings.admin_api_key, &settings.api_key];
    match keys.into_iter().find(|key| !key.is_empty()) {
        Some(key) if is_key(headers, key) => Ok(()),
        Some(_) => Err(ApiError::Unauthorized),
        None if settings.dashboard_login => Err(ApiError::Unauthorized),
        None if is_from_this_host(request) => Ok(()),
        None => Err(ApiError::Forbidden(
            "without a key the settings are open to this host only: set master.admin_api_key or server.api_key, \
             and send it as X-API-Key",
        )),
    }
}

fn has_api_key(headers: &HeaderMap, settings: &ApiSettings) -> bool {
    settings.api_key.is_empty()
        || is_key(headers, &settings.api_key)
        || is_key(headers, &settings.admin_api_key)
}

/// Compares in a time that does not depend on the place of the difference.
fn is_key(headers: &HeaderMap, key: &str) -> bool {
    let Some(given) = headers.get("x-api-key").map(HeaderValue::as_bytes) else { return false };
    if key.is_empty() || given.len() != key.len() {
        return false;
    }
    let differences = given.iter().zip(key.as_bytes()).fold(0, |sum, (one, other)| sum | (one ^ other));
    std::hint::black_box(differences) == 0
}

/// A request without an `Origin` is not made by a page of another origin.
fn has_trusted_origin(headers: &HeaderMap, settings: &ApiSettings) -> bool {
    headers.get_all(ORIGIN).all(|origin| {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
        let authority = origin.to_str().ok().and_then(|text| text.split_once("://")).map(|(_, host)| host);
        authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
            || cors::is_listed(origin, settings)
    })
}

fn is_from_this_host(request: &HttpRequest) -> bool {
    let headers = request.headers();
    let is_forwarded = headers
        .keys()
        .any(|name| *name == FORWARDED || name.as_str().starts_with("x-forwarded") || name == "x-real-ip");
    let mut hosts = headers.get_all(HOST).peekable();
    let has_local_hosts =
        hosts.peek().is_some() && hosts.all(|host| host.to_str().is_ok_and(is_loopback_authority));
    let has_local_target = request.uri().host().is_none_or(is_loopback_authority);
    let has_local_peer = request.peer_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback());
    has_local_peer && has_local_hosts && has_local_target && !is_forwarded
}

/// Whether a host with or without a port is this host by its very name.
fn is_loopback_authority(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']').map_or("", |(host, _port)| host),
        None => match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.contains(':') => {
                host
            }
            _ => authority,
        },
    };
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_and_addresses_of_this_host_are_loopback() {
        for host in [
            "localhost",
            "LOCALHOST:8088",
            "127.0.0.1",
            "127.9.9.9:1",
            "[::1]:80",
            "::1",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(is_loopback_authority(host), "{host}");
        }
        for host in [
            "",
            ":80",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "[::2]:80",
            "evil:x",
            "0.0.0.0",
        ] {
            assert!(!is_loopback_authority(host), "{host}");
        }
    }
}
