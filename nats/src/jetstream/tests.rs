use std::sync::Arc;

use super::*;
use crate::bus_conformance;

mod access;
mod faults;
mod private_server;

/// The address of a test server, and how many copies it can keep.
fn settings(variable: &str, replicas: usize) -> ConnectionSettings {
    let urls = std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set"));
    ConnectionSettings {
        urls: urls.split(',').map(str::to_owned).collect(),
        name: "test".to_owned(),
        replicas,
        ..ConnectionSettings::default()
    }
}

mod on_nats {
    use super::*;

    async fn open() -> Arc<dyn Transport> {
        let settings = settings("ULEX_TEST_NATS_URL", 1);
        Arc::new(JetStream::connect(&settings, Duration::from_secs(10)).await.unwrap())
    }

    bus_conformance!(
        [tokio::test(flavor = "multi_thread", worker_threads = 2), ignore = "needs NATS: ULEX_TEST_NATS_URL"],
        open
    );
}

mod on_nats_cluster {
    use super::*;

    async fn open() -> Arc<dyn Transport> {
        let settings = settings("ULEX_TEST_NATS_CLUSTER_URL", 3);
        Arc::new(JetStream::connect(&settings, Duration::from_secs(10)).await.unwrap())
    }

    bus_conformance!(
        [
            tokio::test(flavor = "multi_thread", worker_threads = 2),
            ignore = "needs a NATS cluster: ULEX_TEST_NATS_CLUSTER_URL"
        ],
        open
    );
}
