//! The routes as callers see them, over a double of the backend.

mod bodies;
mod config;
mod conventions;
mod feedback;
mod items;
mod lists;
mod overload;
mod random;
mod users;

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::http::header::HeaderMap;
use actix_web::{App, test};
use serde_json::Value;

use super::{ApiState, routes};
use crate::backend::Backend as _;
use crate::double::Double;
use crate::settings::ApiSettings;

/// An answer, read to its end.
struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    #[track_caller]
    fn json(&self) -> Value {
        assert_eq!((self.status, self.header("content-type")), (200, "application/json"), "{}", self.text);
        serde_json::from_str(&self.text).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Asserts a refusal whose text has all `words`.
    #[track_caller]
    fn refused(&self, status: u16, words: &[&str]) {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "text/plain; charset=utf-8");
        for word in words {
            assert!(self.text.contains(word), "{word:?} is not in {:?}", self.text);
        }
    }
}

/// A client of an application of its own.
struct Client {
    backend: Arc<Double>,
    state: ApiState,
    headers: Vec<(&'static str, String)>,
    /// None: this host.
    peer: Option<std::net::SocketAddr>,
}

impl Client {
    fn new(settings: ApiSettings) -> Self {
        let backend = Arc::new(Double::new());
        let state = ApiState::new(Arc::<Double>::clone(&backend), settings);
        Self { backend, state, headers: Vec::new(), peer: None }
    }

    fn open() -> Self {
        Self::new(ApiSettings::default())
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    async fn send(&self, method: &str, path: &str, body: Option<Vec<u8>>) -> Answer {
        let api = routes(self.state.clone());
        let app = test::init_service(App::new().service(api.clone()).default_service(api)).await;
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let peer = std::net::SocketAddr::from(([127, 0, 0, 1], 40_000));
        let mut request =
            test::TestRequest::with_uri(path).method(method).peer_addr(self.peer.unwrap_or(peer));
        if self.headers.iter().all(|(name, _value)| *name != "host") {
            request = request.insert_header(("host", "localhost:8088"));
        }
        if let Some(body) = body {
            request = request.insert_header(("content-length", body.len())).set_payload(body);
            if self.headers.iter().all(|(name, _value)| *name != "content-type") {
                request = request.insert_header(("content-type", "application/json"));
            }
        }
        for (name, value) in &self.headers {
            request = request.insert_header((*name, value.as_str()));
        }
        let response = test::call_service(&app, request.to_request()).await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = String::from_utf8(test::read_body(response).await.to_vec()).unwrap();
        Answer { status, headers, text }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, None).await
    }

    async fn post(&self, path: &str, body: impl ToString) -> Answer {
        self.send("POST", path, Some(body.to_string().into_bytes())).await
    }

    async fn put(&self, path: &str, body: impl ToString) -> Answer {
        self.send("PUT", path, Some(body.to_string().into_bytes())).await
    }

    async fn patch(&self, path: &str, body: impl ToString) -> Answer {
        self.send("PATCH", path, Some(body.to_string().into_bytes())).await
    }

    /// Asserts that a write reports this many rows.
    #[track_caller]
    fn rows(answer: &Answer, rows: u64) {
        assert_eq!(answer.json(), serde_json::json!({ "RowAffected": rows }));
    }

    async fn is_empty(&self) -> bool {
        self.backend.data().counts().await.unwrap() == ulex_storage::data::Counts::default()
    }
}
