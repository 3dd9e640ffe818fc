//! One listener for everything a process serves over HTTP.

use std::net::TcpListener;

use actix_web::dev::Server;
use actix_web::{App, HttpResponse, HttpServer, web};
use tracing::warn;
use ulex_server::health_json;
use ulex_server::readiness::ReadinessProbe;
use ulex_server::server::{ServerSettings, start_with};
use ulex_server::settings::{Limits, NotFoundStyle, Quota};
use ulex_server::{ApiSettings, ApiState, routes};
use ulex_settings::Settings;

use crate::measurements::{Lookups, Page};
use crate::parts::StartError;

/// The address that `[master]` names.
#[must_use]
pub fn address(settings: &Settings) -> String {
    format!("{}:{}", settings.master.http_host, settings.master.http_port)
}

/// Opens a listener; with port 0 the operating system chooses.
///
/// # Errors
///
/// [`StartError::Listen`] if the address is taken or not ours.
pub fn listen(address: &str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).map_err(|source| StartError::Listen { address: address.to_owned(), source })
}

/// Serves nothing but whether this process is well, `/api/health/live` and `/api/health/ready`, and `/metrics`.
///
/// # Errors
///
/// [`StartError::Listen`] if the listener cannot be used.
pub fn serve_health(
    listener: TcpListener,
    readiness: ReadinessProbe,
    lookups: Lookups,
) -> Result<Server, StartError> {
    let page = Page::new(lookups, None);
    let readiness = web::Data::new(readiness);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(readiness.clone())
            .configure(|config| page.register(config))
            .route("/api/health/live", web::get().to(HttpResponse::Ok))
            .route("/api/health/ready", web::get().to(ready))
    });
    let server = server.workers(1).disable_signals().shutdown_timeout(5).listen(listener);
    let server =
        server.map_err(|source| StartError::Listen { address: "the listener".to_owned(), source })?;
    Ok(server.run())
}

async fn ready(readiness: web::Data<ReadinessProbe>) -> HttpResponse {
    let health = readiness.check().await;
    let body = health_json(&health);
    if health.is_ready() {
        HttpResponse::Ok().json(body)
    } else {
        HttpResponse::ServiceUnavailable().json(body)
    }
}

/// Serves the REST routes and `/metrics` on `listener`; the server runs when the future is polled.
///
/// # Errors
///
/// [`StartError::Listen`] if the listener cannot be used.
pub fn serve(
    listener: TcpListener,
    settings: &Settings,
    state: ApiState,
    lookups: Lookups,
) -> Result<Server, StartError> {
    warn_if_open(&listener, settings);
    let api = routes(state);
    let page = Page::new(lookups, Some(api.measurements()));
    let address = format!("{}:{}", settings.master.http_host, settings.master.http_port);
    let how = ServerSettings { degrade: settings.serving.degrade, ..ServerSettings::default() };
    start_with(listener, api, how, move |config| page.register(config))
        .map_err(|source| StartError::Listen { address, source })
}

/// A listener that other hosts reach, without a key, is said once.
fn warn_if_open(listener: &TcpListener, settings: &Settings) {
    let has_key =
        !settings.server.api_key.expose().is_empty() || !settings.master.admin_api_key.expose().is_empty();
    let Ok(address) = listener.local_addr() else { return };
    if !has_key && !address.ip().to_canonical().is_loopback() {
        warn!(
            %address,
            "REST is open to every host that reaches this address: set server.api_key or master.admin_api_key"
        );
    }
}

/// What the REST surface has to know of the settings.
#[must_use]
pub fn api_settings(settings: &Settings) -> ApiSettings {
    let quota = &settings.quota;
    ApiSettings {
        api_key: settings.server.api_key.expose().to_owned(),
        admin_api_key: settings.master.admin_api_key.expose().to_owned(),
        dashboard_login: settings.master.login.is_some(),
        default_n: settings.server.default_n,
        cache_size: settings.recommend.cache_size,
        clock_error: settings.server.clock_error,
        auto_insert_user: settings.server.auto_insert_user,
        auto_insert_item: settings.server.auto_insert_item,
        search: !settings.recommend.search_columns.is_empty(),
        cors_domains: settings.master.http_cors_domains.clone(),
        cors_methods: settings.master.http_cors_methods.clone(),
        not_found: match settings.compat.not_found_style {
            ulex_settings::NotFoundStyle::Head => NotFoundStyle::Sentence,
            ulex_settings::NotFoundStyle::V0_5 => NotFoundStyle::Tagged,
        },
        quota: Quota {
            max_users_count: quota.max_users_count.unwrap_or(0),
            max_items_count: quota.max_items_count.unwrap_or(0),
            max_labels_size: quota.max_labels_size.unwrap_or(0),
            max_comment_size: quota.max_comment_size.unwrap_or(0),
            max_categories_count: quota.max_categories_count.unwrap_or(0),
            max_categories_size: quota.max_categories_size.unwrap_or(0),
        },
        limits: Limits {
            body: usize::try_from(settings.serving.max_body.0).unwrap_or(usize::MAX),
            request_time: settings.serving.request_timeout,
            ..Limits::default()
        },
    }
}
