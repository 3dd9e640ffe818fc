//! The table of routes, filled together with their documentation.
//!
//! A route is added with the value that `#[utoipa::path]` generates from its handler, and path and methods are
//! taken from there: what is served and what is documented cannot differ. Look-up goes by number of segments;
//! of several patterns that fit, the one with more literal segments wins.

use std::future::Future;

use actix_web::HttpResponse;
use actix_web::http::Method;
use actix_web::http::header::HeaderValue;
use futures_util::future::LocalBoxFuture;
use utoipa::openapi::path::{HttpMethod, Operation, PathItem, Paths};
use utoipa::openapi::{ComponentsBuilder, Info, OpenApi, RefOr, Schema, Server};
use utoipa_actix_web::OpenApiFactory;

use super::call::Call;
use super::cors::Origins;
use super::measures::RouteName;
use super::path::Segments;
use crate::error::ApiError;

/// A handler's answer.
pub(crate) type Answer = Result<HttpResponse, ApiError>;

/// Whether a handler was done at once.
pub(crate) enum Reply {
    /// Answered from memory.
    Now(Answer),
    /// Has to wait for something.
    Later(LocalBoxFuture<'static, Answer>),
}

type Handler = Box<dyn Fn(Call) -> Reply + Send + Sync>;

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody.
    Open,
    /// Who has the API key or the administrator's.
    Key,
    /// Who is logged in.
    Login,
    /// Who may see and change the settings.
    Settings,
}

/// Routes that read by POST.
const SESSION: &str = "/api/session/";

/// Where the parameters of a route stand among its segments.
pub(crate) type Parameters = [u8; 4];

enum Segment {
    Literal(Box<str>),
    Parameter,
}

/// Everything one method of one path needs.
pub(crate) struct Route {
    method: Method,
    /// Its place among all routes.
    pub(crate) number: usize,
    /// It changes nothing, needs a key and has to compute or look something up.
    pub(crate) is_read: bool,
    /// Who may use it.
    pub(crate) access: Access,
    /// What it does.
    pub(crate) handler: Handler,
}

/// One path with its methods.
pub(crate) struct Resource {
    segments: Vec<Segment>,
    routes: Vec<Route>,
    /// Where its parameters are.
    pub(crate) parameters: Parameters,
    /// The methods it has, for the header `Allow`.
    pub(crate) allow: HeaderValue,
}

impl Resource {
    fn new(path: &str) -> Self {
        let mut parameters = Parameters::default();
        let mut found = 0;
        let mut segments = Vec::new();
        for (index, segment) in path.split('/').filter(|segment| !segment.is_empty()).enumerate() {
            if segment.starts_with('{') {
                parameters[found] = u8::try_from(index).expect("a route has a handful of segments");
                found += 1;
                segments.push(Segment::Parameter);
            } else {
                segments.push(Segment::Literal(segment.into()));
            }
        }
        Self { segments, routes: Vec::new(), parameters, allow: HeaderValue::from_static("") }
    }

    fn literals(&self) -> usize {
        self.segments.iter().filter(|segment| matches!(segment, Segment::Literal(_))).count()
    }

    fn matches(&self, path: &str, segments: &Segments) -> bool {
        self.segments.iter().enumerate().all(|(index, segment)| match segment {
            Segment::Literal(literal) => **literal == *segments.get(path, index),
            Segment::Parameter => true,
        })
    }

    /// The route of a method.
    pub(crate) fn route(&self, method: &Method) -> Option<&Route> {
        self.routes.iter().find(|route| route.method == *method)
    }

    /// The places of its parameters among the segments.
    pub(crate) fn given_parameters(&self) -> impl Iterator<Item = &u8> {
        let count = self.segments.len() - self.literals();
        self.parameters.iter().take(count)
    }

    /// Browsers that may use it: settings are closed to pages of origins that nothing names.
    pub(crate) fn origins(&self) -> Origins {
        let holds_settings = self.routes.iter().any(|route| route.access == Access::Settings);
        if holds_settings { Origins::Listed } else { Origins::Configured }
    }

    /// The methods it has.
    pub(crate) fn methods(&self) -> impl Iterator<Item = &Method> {
        self.routes.iter().map(|route| &route.method)
    }

    fn push(&mut self, route: Route) {
        self.routes.push(route);
        let names: Vec<&str> = self.routes.iter().map(|route| route.method.as_str()).collect();
        self.allow = HeaderValue::from_str(&names.join(", ")).expect("names of methods are a header value");
    }
}

/// All routes and their documentation.
pub(crate) struct Router {
    /// By number of segments.
    resources: Vec<Vec<Resource>>,
    paths: Paths,
    schemas: Vec<(String, RefOr<Schema>)>,
    /// By number of the route.
    names: Vec<RouteName>,
}

impl Router {
    /// A table without routes.
    pub(crate) fn new() -> Self {
        Self { resources: Vec::new(), paths: Paths::new(), schemas: Vec::new(), names: Vec::new() }
    }

    /// Adds a route whose handler has to wait.
    pub(crate) fn add<D, H, F>(&mut self, access: Access, documentation: &D, handler: H)
    where
        D: OpenApiFactory,
        H: Fn(Call) -> F + Send + Sync + Copy + 'static,
        F: Future<Output = Answer> + 'static,
    {
        self.add_ready(access, documentation, move |call| Reply::Later(Box::pin(handler(call))));
    }

    /// Adds a route whose handler may be done at once.
    pub(crate) fn add_ready<D, H>(&mut self, access: Access, documentation: &D, handler: H)
    where
        D: OpenApiFactory,
        H: Fn(Call) -> Reply + Send + Sync + Copy + 'static,
    {
        documentation.schemas(&mut self.schemas);
        for (path, item) in documentation.paths().paths {
            for (method, documented, operation) in operations(item) {
                self.paths.add_path_operation(&path, vec![documented], operation);
                let number = self.names.len();
                self.names.push(RouteName { method: method.as_str().to_owned(), template: path.clone() });
                let is_read = access == Access::Key && (method == Method::GET || path.starts_with(SESSION));
                self.resource(&path).push(Route {
                    method,
                    number,
                    is_read,
                    access,
                    handler: Box::new(handler),
                });
            }
        }
    }

    fn resource(&mut self, path: &str) -> &mut Resource {
        let fresh = Resource::new(path);
        let length = fresh.segments.len();
        if self.resources.len() <= length {
            self.resources.resize_with(length + 1, Vec::new);
        }
        let same = |known: &Resource| {
            known.segments.iter().zip(&fresh.segments).all(|pair| match pair {
                (Segment::Literal(one), Segment::Literal(other)) => one == other,
                (Segment::Parameter, Segment::Parameter) => true,
                (Segment::Literal(_), Segment::Parameter) | (Segment::Parameter, Segment::Literal(_)) => {
                    false
                }
            })
        };
        let resources = &mut self.resources[length];
        let at = resources.iter().position(same).unwrap_or_else(|| {
            let at = resources.partition_point(|known| known.literals() >= fresh.literals());
            resources.insert(at, fresh);
            at
        });
        &mut resources[at]
    }

    /// The resource at a path.
    pub(crate) fn find(&self, path: &str, segments: &Segments) -> Option<&Resource> {
        self.resources.get(segments.len())?.iter().find(|resource| resource.matches(path, segments))
    }

    /// What the routes are called, by their numbers.
    pub(crate) fn names(&self) -> &[RouteName] {
        &self.names
    }

    /// The documentation of all routes.
    pub(crate) fn openapi(&self) -> OpenApi {
        let mut info = Info::new("Ulex", env!("CARGO_PKG_VERSION"));
        info.description = Some(
            "Users, items and feedback in; recommendations out. Errors are plain text that names the field and \
             what was expected. Lists and pages hold at most 10000 entries."
                .to_owned(),
        );
        let components = ComponentsBuilder::new().schemas_from_iter(self.schemas.iter().cloned()).build();
        let mut document = OpenApi::new(info, self.paths.clone());
        document.components = Some(components);
        document.servers = Some(vec![Server::new("/")]);
        document
    }
}

/// The documented methods of a path.
fn operations(item: PathItem) -> impl Iterator<Item = (Method, HttpMethod, Operation)> {
    let all = [
        (Method::GET, HttpMethod::Get, item.get),
        (Method::POST, HttpMethod::Post, item.post),
        (Method::PUT, HttpMethod::Put, item.put),
        (Method::PATCH, HttpMethod::Patch, item.patch),
        (Method::DELETE, HttpMethod::Delete, item.delete),
    ];
    let given = |(method, documented, operation): (_, _, Option<_>)| Some((method, documented, operation?));
    all.into_iter().filter_map(given)
}
