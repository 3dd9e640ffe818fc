//! An ingester by itself: applies the log of a NATS server to a data store, and nothing else.
//!
//! `ingester nats://127.0.0.1:4222 sqlite://data.sqlite`

#![expect(clippy::print_stdout, reason = "says that it is ready")]

use std::sync::Arc;
use std::time::Duration;

use actix::Actor as _;
use ulex_domain::TenantId;
use ulex_nats::topology::ensure_topology;
use ulex_nats::{Bus, ConnectionSettings, JetStream};
use ulex_recommenders::plan::Plan;
use ulex_recommenders::service::Recommender;
use ulex_server::ingest::{Ingest, IngestParts};
use ulex_server::published::Admission;
use ulex_settings::Settings;
use ulex_storage::{cache, data};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (nats, store) = arguments.next().zip(arguments.next()).ok_or("usage: ingester NATS_URL STORE_URL")?;
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let runtime = ulex_launcher::role::system();
    runtime.block_on(async {
        let connection =
            ConnectionSettings { urls: vec![nats], name: "ingester".to_owned(), ..Default::default() };
        let transport = JetStream::connect(&connection, Duration::from_secs(30)).await?;
        let bus = Bus::new(Arc::new(transport), TenantId::default());
        let settings = Settings::default();
        ensure_topology(&bus, settings.master.meta_timeout).await?;
        let store = data::open(&store, "").await?;
        let cache = cache::open(
            "memory://",
            &cache::CacheSettings {
                max_bytes: 64 << 20,
                prefix: String::new(),
                expire: Duration::from_secs(600),
            },
        )
        .await?;
        let recommender = Recommender::new(store, cache, Plan::new(&settings), Duration::ZERO);
        let parts = IngestParts {
            node: "ingester".to_owned(),
            bus,
            recommender,
            batch_rows: settings.ingest.batch_rows,
            admission: Admission { insert_users: true, insert_items: true },
        };
        let _ingest = Ingest::new(parts).start();
        println!("ready");
        tokio::signal::ctrl_c().await?;
        Ok(())
    })
}
