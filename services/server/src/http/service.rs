//! The actix service under which every REST route runs.
//!
//! Order: path and method, preflight, key, media types, handler. An answer from memory costs one look-up and no
//! allocation besides its own; everything else runs under a bound on requests in flight and a deadline.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use actix_web::dev::{
    AppService, HttpServiceFactory, Payload, ResourceDef, Service, ServiceFactory, ServiceRequest,
    ServiceResponse,
};
use actix_web::http::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use actix_web::http::{Method, StatusCode};
use actix_web::{Error, HttpRequest, HttpResponse};
use futures_util::future::{Either, LocalBoxFuture, Ready, ok};
use tracing::{Instrument as _, Span};
use ulex_domain::limits::MAX_ID_BYTES;

use super::admission;
use super::body;
use super::call::Call;
use super::cors::{self, Origins};
use super::measures::{Measures, Shard};
use super::path::{Cut, Segments, cut};
use super::request_id::{X_REQUEST_ID, X_ULEX_EVENT_ID, next_request_id};
use super::router::{Answer, Reply, Resource, Route, Router};
use super::spans;
use super::ticket::Ticket;
use crate::api::ApiState;
use crate::backend::BackendError;
use crate::error::{ApiError, plain};
use crate::overload;
use crate::settings::ApiSettings;

/// All REST routes as one thing that an actix application can register.
#[derive(Clone)]
pub struct Api {
    state: ApiState,
    router: Arc<Router>,
    measures: Arc<Measures>,
}

impl Api {
    pub(crate) fn new(state: ApiState, router: Arc<Router>) -> Self {
        let measures = Arc::new(Measures::new(router.names().to_vec()));
        Self { state, router, measures }
    }

    /// Watches how long work waits on the present thread, which serves. Must be called inside an actix runtime.
    pub fn watch_load(&self) {
        overload::watch(&self.state);
    }

    /// What is counted about requests, for a page of metrics.
    #[must_use]
    pub fn measurements(&self) -> Measurements {
        Measurements { state: self.state.clone(), measures: Arc::clone(&self.measures) }
    }
}

/// What is counted about requests. Cheap to clone.
#[derive(Clone)]
pub struct Measurements {
    state: ApiState,
    measures: Arc<Measures>,
}

impl Measurements {
    /// Appends it in the text format of Prometheus.
    pub fn render(&self, text: &mut String) {
        self.measures.render(text);
        self.state.render(text);
    }
}

/// Registers the routes under `/api` and the documentation at `/apidocs.json`.
impl HttpServiceFactory for Api {
    fn register(self, config: &mut AppService) {
        config.register_service(ResourceDef::prefix("/api"), None, self.clone(), None);
        config.register_service(ResourceDef::prefix("/apidocs.json"), None, self, None);
    }
}

impl utoipa_actix_web::OpenApiFactory for Api {
    fn paths(&self) -> utoipa::openapi::path::Paths {
        self.router.openapi().paths
    }

    fn schemas(&self, schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::Schema>)>) {
        if let Some(components) = self.router.openapi().components {
            schemas.extend(components.schemas);
        }
    }
}

impl ServiceFactory<ServiceRequest> for Api {
    type Response = ServiceResponse;
    type Error = Error;
    type Config = ();
    type Service = ApiService;
    type InitError = ();
    type Future = Ready<Result<Self::Service, ()>>;

    fn new_service(&self, (): ()) -> Self::Future {
        ok(ApiService {
            state: Rc::new(self.state.clone()),
            router: Arc::clone(&self.router),
            counts: self.measures.shard(),
        })
    }
}

/// One per worker thread.
pub struct ApiService {
    state: Rc<ApiState>,
    router: Arc<Router>,
    counts: Arc<Shard>,
}

/// A request that is being answered.
struct Begun {
    at: Instant,
    /// The number of its route.
    route: Option<usize>,
    span: Span,
    /// It may be refused when too much is asked.
    is_read: bool,
    /// Browsers that may read the answer.
    origins: Origins,
    /// Its place and its time.
    ticket: Rc<Ticket>,
    /// Its body has still to arrive.
    is_upload: bool,
}

impl Begun {
    fn end(&self, counts: &Shard, status: StatusCode) {
        counts.count(self.route, status, self.at.elapsed());
        spans::end(&self.span, status);
    }
}

impl Service<ServiceRequest> for ApiService {
    type Response = ServiceResponse;
    type Error = Error;
    type Future = Either<
        Ready<Result<ServiceResponse, Error>>,
        LocalBoxFuture<'static, Result<ServiceResponse, Error>>,
    >;

    actix_web::dev::always_ready!();

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let at = Instant::now();
        overload::note_request();
        let (request, payload) = request.into_parts();
        let mut begun = Begun {
            at,
            route: None,
            span: Span::none(),
            is_read: false,
            origins: Origins::Configured,
            ticket: Rc::default(),
            is_upload: has_input(request.method()) && body::is_present(request.headers()),
        };
        match self.reply(&request, payload, &mut begun) {
            Reply::Now(answer) => {
                let response = finish(request, answer, &self.state, &begun);
                begun.end(&self.counts, response.status());
                Either::Left(ok(response))
            }
            Reply::Later(future) => Either::Right(Box::pin(self.bounded(request, future, begun))),
        }
    }
}

impl ApiService {
    fn reply(&self, request: &HttpRequest, payload: Payload, begun: &mut Begun) -> Reply {
        let path = request.uri().path();
        let segments = match cut(path) {
            Cut::Segments(segments) => segments,
            Cut::Redirect(to) => return Reply::Now(Ok(redirect(to, request.uri().query()))),
            Cut::Malformed => {
                return Reply::Now(Err(ApiError::invalid("path", "percent-encoded UTF-8")));
            }
        };
        let settings = self.state.settings();
        let Some(resource) = self.router.find(path, &segments) else {
            return Reply::Now(self.unknown(request, &settings));
        };
        begun.origins = resource.origins();
        if let Err(refusal) = check_parameters(path, &segments, resource) {
            return Reply::Now(Err(refusal));
        }
        match admit(request, resource, &settings) {
            Ok(route) => {
                begun.route = Some(route.number);
                begun.is_read = route.is_read;
                begun.span = spans::of(request, &self.router.names()[route.number]);
                let call = Call {
                    request: request.clone(),
                    payload,
                    segments,
                    parameters: resource.parameters,
                    state: Rc::clone(&self.state),
                    ticket: Rc::clone(&begun.ticket),
                    reserved: None,
                };
                begun.span.in_scope(|| (route.handler)(call))
            }
            Err(answer) => Reply::Now(*answer),
        }
    }

    fn unknown(&self, request: &HttpRequest, settings: &ApiSettings) -> Answer {
        cors::preflight(
            request.method(),
            request.headers(),
            settings,
            Origins::Configured,
            std::iter::empty(),
        )
        .ok_or_else(|| ApiError::NotFound("404: Page Not Found".to_owned()))
    }

    fn bounded(
        &self,
        request: HttpRequest,
        future: LocalBoxFuture<'static, Answer>,
        begun: Begun,
    ) -> impl Future<Output = Result<ServiceResponse, Error>> + use<> {
        let (state, counts) = (Rc::clone(&self.state), Arc::clone(&self.counts));
        let span = begun.span.clone();
        let answered = async move {
            let peer = request.peer_addr().map(|address| address.ip());
            let ticket = Rc::clone(&begun.ticket);
            let admitted = if begun.is_upload { ticket.upload(&state) } else { ticket.enter(&state) };
            let answer = match admitted {
                Ok(()) if begun.is_read && state.overload().refuses(peer) => {
                    Err(ApiError::Backend(BackendError::Overloaded))
                }
                Ok(()) => tokio::select! {
                    biased;
                    answer = future => answer,
                    () = ticket.expired() => Err(ticket.failure(state.settings().limits.request_time)),
                },
                Err(refusal) => Err(refusal),
            };
            ticket.leave();
            let response = finish(request, answer, &state, &begun);
            begun.end(&counts, response.status());
            Ok(response)
        };
        answered.instrument(span)
    }
}

/// No id is longer than one that could be stored.
fn check_parameters(path: &str, segments: &Segments, resource: &Resource) -> Result<(), ApiError> {
    let is_long = |place: &u8| segments.get(path, usize::from(*place)).len() > MAX_ID_BYTES;
    match resource.given_parameters().find(|place| is_long(place)) {
        Some(_) => {
            Err(ApiError::BadRequest(format!("path: expected ids and types of at most {MAX_ID_BYTES} bytes")))
        }
        None => Ok(()),
    }
}

/// Finds the route of a request that may pass, or what is answered instead.
fn admit<'a>(
    request: &HttpRequest,
    resource: &'a Resource,
    settings: &ApiSettings,
) -> Result<&'a Route, Box<Answer>> {
    let (method, headers) = (request.method(), request.headers());
    let Some(route) = resource.route(method) else {
        if let Some(response) =
            cors::preflight(method, headers, settings, resource.origins(), resource.methods())
        {
            return Err(Box::new(Ok(response)));
        }
        let mut response = ApiError::MethodNotAllowed.response();
        response.headers_mut().insert(ALLOW, resource.allow.clone());
        return Err(Box::new(Ok(response)));
    };
    if let Err(refusal) = admission::admit(request, route.access, settings) {
        return Err(Box::new(Err(refusal)));
    }
    if has_input(method) && body::is_present(headers) && !is_json(headers.get(CONTENT_TYPE)) {
        return Err(Box::new(Err(ApiError::UnsupportedMediaType)));
    }
    if !accepts_json(headers) {
        return Err(Box::new(Err(ApiError::NotAcceptable)));
    }
    Ok(route)
}

fn has_input(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

fn media_types(value: &HeaderValue) -> impl Iterator<Item = &str> {
    let text = value.to_str().unwrap_or("");
    text.split(',').map(|part| part.split(';').next().unwrap_or("").trim())
}

fn is_json(content_type: Option<&HeaderValue>) -> bool {
    content_type
        .is_some_and(|value| media_types(value).any(|kind| kind.eq_ignore_ascii_case("application/json")))
}

fn accepts_json(headers: &HeaderMap) -> bool {
    let fits = |kind: &str| {
        kind == "*/*"
            || kind.eq_ignore_ascii_case("application/json")
            || kind.eq_ignore_ascii_case("application/*")
    };
    let mut given = headers.get_all(ACCEPT).peekable();
    given.peek().is_none() || given.any(|value| value.is_empty() || media_types(value).any(fits))
}

/// To the clean path; with a page for people, as Gorse has it.
fn redirect(mut to: String, query: Option<&str>) -> HttpResponse {
    if let Some(query) = query {
        to.push('?');
        to.push_str(query);
    }
    let shown = to.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;");
    let page = format!("<a href=\"{}\">Temporary Redirect</a>.\n\n", shown.replace('\'', "&#39;"));
    let mut response = plain(StatusCode::TEMPORARY_REDIRECT, page);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    if let Ok(location) = HeaderValue::from_str(&to) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// Adds what every answer carries.
fn finish(request: HttpRequest, answer: Answer, state: &ApiState, begun: &Begun) -> ServiceResponse {
    let is_stranger = matches!(answer, Err(ApiError::Unauthorized | ApiError::Forbidden(_)));
    let mut response = answer.unwrap_or_else(|failure| failure.response());
    let headers = response.headers_mut();
    headers.insert(X_REQUEST_ID, next_request_id());
    if let Some(id) = begun.ticket.event_id() {
        headers.insert(X_ULEX_EVENT_ID, id);
    }
    if !is_stranger && request.method() != Method::OPTIONS {
        cors::allow_origin(request.headers(), headers, &state.settings(), begun.origins);
    }
    ServiceResponse::new(request, response)
}
