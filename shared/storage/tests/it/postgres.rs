//! The PostgreSQL store, and what its tests need.

use std::sync::atomic::{AtomicU32, Ordering};

mod cache;
mod on_postgres;

/// A schema of the test server, for one test.
pub struct Schema {
    name: String,
    client: tokio_postgres::Client,
}

fn server() -> String {
    std::env::var("ULEX_TEST_POSTGRES_URL").expect("ULEX_TEST_POSTGRES_URL names a PostgreSQL server")
}

impl Schema {
    /// Makes one that nobody else uses.
    pub async fn create() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (client, connection) = tokio_postgres::connect(&server(), tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let name = format!("ulex_test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let sql = format!("DROP SCHEMA IF EXISTS {name} CASCADE; CREATE SCHEMA {name}");
        client.batch_execute(&sql).await.unwrap();
        Self { name, client }
    }

    /// The URL of the schema, with more options.
    pub fn url(&self, options: &str) -> String {
        let server = server();
        let sign = if server.contains('?') { '&' } else { '?' };
        format!("{server}{sign}search_path={}&pool_size=4{options}", self.name)
    }

    /// Runs SQL in it, without the store.
    pub async fn run(&self, sql: &str) {
        self.client.batch_execute(&format!("SET search_path = {}; {sql}", self.name)).await.unwrap();
    }

    /// The number that a query gives.
    pub async fn number(&self, sql: &str) -> i64 {
        self.run("").await;
        self.client.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Removes it with all that is in it.
    pub async fn remove(self) {
        self.client.batch_execute(&format!("DROP SCHEMA {} CASCADE", self.name)).await.unwrap();
    }
}
