//! What the REST surface costs on top of actix-web, with everything behind it for nothing.
//!
//! `cargo run --release -p ulex-server --example bare -- PORT` serves, from one process and one worker,
//! `/bare`: a plain actix-web handler that returns a recommend answer of ten ids from a constant,
//! `/api/recommend/{user}`: the real route over a backend that has every list at hand, and
//! `/api/feedback`: the real route over a backend that forgets what it is given.
//! Load them in turn, for example with `wrk -t1 -c32 -d5s http://127.0.0.1:PORT/bare`, and compare.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use async_trait::async_trait;
use serde_json::Value;
use smol_str::SmolStr;
use ulex_domain::{Command, EventId, Feedback, ItemId, UserId};
use ulex_server::backend::{
    Effort, Health, Node, Quality, Recommended, SettingsChange, SettingsRevision, Status, TaskProgress,
};
use ulex_server::{ApiSettings, ApiState, Backend, BackendError, ListQuery, Receipt, ScoredItem};
use ulex_storage::data::DataStore;

const LIST: [&str; 10] = ["50", "100", "181", "258", "288", "1", "300", "121", "174", "127"];
const BODY: &str = r#"["50","100","181","258","288","1","300","121","174","127"]"#;

type List = Result<Vec<ScoredItem>, BackendError>;

struct Canned;

fn list(query: &ListQuery) -> Vec<ScoredItem> {
    let entry = |id: &&'static str| ScoredItem { id: SmolStr::new_static(id), score: 0.5 };
    LIST.iter().skip(query.offset).take(query.n).map(entry).collect()
}

#[async_trait]
impl Backend for Canned {
    async fn submit(&self, _event: Command, _id: EventId, _wait: Duration) -> Result<Receipt, BackendError> {
        Ok(Receipt::default())
    }

    fn recommend_now(&self, _user: &UserId, query: &ListQuery, _effort: Effort) -> Option<Recommended> {
        Some(Recommended { list: list(query), quality: Quality::Full })
    }

    async fn recommend(
        &self,
        _user: &UserId,
        query: &ListQuery,
        _effort: Effort,
    ) -> Result<Recommended, BackendError> {
        Ok(Recommended { list: list(query), quality: Quality::Full })
    }

    async fn latest(&self, _user: Option<&UserId>, query: &ListQuery) -> List {
        Ok(list(query))
    }

    async fn leaderboard(&self, _name: &str, _user: Option<&UserId>, query: &ListQuery) -> List {
        Ok(list(query))
    }

    async fn collaborative(&self, _user: &UserId, _reader: Option<&UserId>, query: &ListQuery) -> List {
        Ok(list(query))
    }

    async fn item_neighbors(
        &self,
        _name: Option<&str>,
        _item: &ItemId,
        _reader: Option<&UserId>,
        query: &ListQuery,
    ) -> List {
        Ok(list(query))
    }

    async fn user_neighbors(&self, _name: Option<&str>, _user: &UserId, query: &ListQuery) -> List {
        Ok(list(query))
    }

    async fn session(&self, _feedback: Vec<Feedback>, query: &ListQuery) -> List {
        Ok(list(query))
    }

    fn data(&self) -> &dyn DataStore {
        unreachable!("no route of this program reads data")
    }

    async fn health(&self) -> Health {
        Health::WELL
    }

    async fn tasks(&self) -> Result<Vec<TaskProgress>, BackendError> {
        Ok(Vec::new())
    }

    async fn stats(&self) -> Result<Status, BackendError> {
        Ok(Status::default())
    }

    async fn cluster(&self) -> Result<Vec<Node>, BackendError> {
        Ok(Vec::new())
    }

    fn shown_settings(&self) -> Value {
        Value::Null
    }

    async fn change_settings(&self, _: SettingsChange) -> Result<(), BackendError> {
        Err(BackendError::Disabled("there are none".to_owned()))
    }

    async fn settings_history(&self) -> Result<Vec<SettingsRevision>, BackendError> {
        Ok(Vec::new())
    }
}

async fn bare() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(BODY)
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).unwrap_or_else(|| "8088".to_owned());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}"))?;
    let api = ulex_server::routes(ApiState::new(Arc::new(Canned), ApiSettings::default()));
    HttpServer::new(move || App::new().route("/bare", web::get().to(bare)).service(api.clone()))
        .workers(1)
        .listen(listener)?
        .run()
        .await
}
