//! Which browsers may read the answers.

use actix_web::HttpResponse;
use actix_web::http::Method;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue, ORIGIN, VARY,
};

use crate::settings::ApiSettings;

const ALLOWED_HEADERS: [&str; 5] = ["content-type", "accept", "x-api-key", "idempotency-key", "prefer"];

/// Origins that may use a route from a browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origins {
    /// Those of the settings; any, if these name none.
    Configured,
    /// Only those that the settings name: "any" does not count.
    Listed,
}

impl Origins {
    fn allow(self, origin: &HeaderValue, settings: &ApiSettings) -> bool {
        let domains = &settings.cors_domains;
        let is_any = domains.is_empty() || domains.iter().any(|domain| domain == ".*");
        (self == Self::Configured && is_any && origin.to_str().is_ok()) || is_listed(origin, settings)
    }
}

/// Whether the settings name this origin.
pub(crate) fn is_listed(origin: &HeaderValue, settings: &ApiSettings) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    settings.cors_domains.iter().any(|domain| domain.eq_ignore_ascii_case(origin))
}

/// Lets the caller's origin read the answer: exactly one value, or none for origins that are not allowed.
pub(crate) fn allow_origin(
    request: &HeaderMap,
    response: &mut HeaderMap,
    settings: &ApiSettings,
    origins: Origins,
) {
    match request.get(ORIGIN) {
        None if origins == Origins::Listed => {}
        None => {
            response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        }
        Some(origin) if origins.allow(origin, settings) => {
            response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            response.insert(VARY, HeaderValue::from_static("Origin"));
        }
        Some(_stranger) => {}
    }
}

/// The answer to a browser's question before the request, if it is one.
pub(crate) fn preflight<'a>(
    method: &Method,
    request: &HeaderMap,
    settings: &ApiSettings,
    origins: Origins,
    route_methods: impl Iterator<Item = &'a Method>,
) -> Option<HttpResponse> {
    if *method != Method::OPTIONS {
        return None;
    }
    let origin = request.get(ORIGIN).filter(|origin| origins.allow(origin, settings))?;
    let wanted = request.get(ACCESS_CONTROL_REQUEST_METHOD)?.to_str().ok()?;
    let methods = if settings.cors_methods.is_empty() {
        route_methods.map(Method::to_string).collect()
    } else {
        settings.cors_methods.clone()
    };
    let mut response = HttpResponse::new(StatusCode::OK);
    let asked = request.get(ACCESS_CONTROL_REQUEST_HEADERS);
    if methods.iter().any(|method| method == wanted) && asked.is_none_or(are_allowed_headers) {
        let headers = response.headers_mut();
        if let Ok(list) = HeaderValue::from_str(&methods.join(",")) {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, list);
        }
        if let Some(asked) = asked {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(VARY, HeaderValue::from_static("Origin"));
    }
    Some(response)
}

fn are_allowed_headers(asked: &HeaderValue) -> bool {
    let Ok(asked) = asked.to_str() else { return false };
    let mut names = asked.split(',').map(str::trim).filter(|name| !name.is_empty());
    names.all(|name| ALLOWED_HEADERS.iter().any(|allowed| name.eq_ignore_ascii_case(allowed)))
}
