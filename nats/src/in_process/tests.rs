use super::*;
use crate::bus_conformance;

/// Without a folder; time moves by itself when everybody waits, so nothing here takes long.
mod in_memory {
    use super::*;

    async fn open() -> Arc<dyn Transport> {
        Arc::new(InProcess::open(None).unwrap())
    }

    bus_conformance!(tokio::test(start_paused = true), open);
}

/// With a folder, on several threads, in real time.
mod on_disk {
    use super::*;
    use std::sync::OnceLock;

    async fn open() -> Arc<dyn Transport> {
        static SHARED: OnceLock<(tempfile::TempDir, Arc<InProcess>)> = OnceLock::new();
        let (_folder, bus) = SHARED.get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let bus = InProcess::open(Some(folder.path().to_owned())).unwrap();
            (folder, Arc::new(bus))
        });
        Arc::clone(bus) as Arc<dyn Transport>
    }

    bus_conformance!(tokio::test(flavor = "multi_thread", worker_threads = 2), open);
}
