//! NATS, PostgreSQL and Redis end and come back while a cluster is written to and read from.

mod on_cluster {
    use std::cell::Cell;
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread::sleep;
    use std::time::{Duration, Instant};

    use serde_json::json;
    use ulex_integration_tests::datasets::{TWO_TASTES_CONFIG, feedback, two_tastes};
    use ulex_integration_tests::{Client, Cluster, Nats, NatsCluster, NatsServer, Role, wait_until};

    const MINUTE: Duration = Duration::from_secs(60);
    const WRITERS: usize = 4;
    /// How long the load runs undisturbed, and how long a server is away.
    const CALM: Duration = Duration::from_secs(2);
    const AWAY: Duration = Duration::from_secs(4);
    /// Rows of one user as `psql` prints them.
    const ROWS: &str = "SELECT user_id, item_id, value FROM feedback WHERE feedback_type = 'watch'";

    /// What happened under the load.
    #[derive(Default)]
    struct Record {
        /// User and item of every row whose write was answered with 200.
        acknowledged: BTreeSet<(String, String)>,
        /// When each write failed that did.
        failed: Vec<Instant>,
        reads: usize,
        failed_reads: Vec<String>,
    }

    struct Load {
        record: Mutex<Record>,
        stop: AtomicBool,
    }

    impl Load {
        /// Writes rows that nobody else writes, one after the other.
        fn write(&self, base_url: &str, user: &str) {
            let mut client = Client::new(base_url);
            for number in 0.. {
                if self.stop.load(Ordering::Relaxed) {
                    return;
                }
                let item = format!("w{number}");
                let body = json!([feedback("watch", user, &item)]);
                let answer = client.send_json("POST", "/api/feedback", &body);
                let mut record = self.record.lock().unwrap();
                match answer {
                    Ok(answer) if answer.status == 200 => {
                        record.acknowledged.insert((user.to_owned(), item));
                    }
                    Ok(answer) => {
                        assert!(matches!(answer.status, 503 | 504), "{}", answer.text());
                        record.failed.push(Instant::now());
                    }
                    Err(_) => record.failed.push(Instant::now()),
                }
            }
        }

        /// Asks for lists of users that nobody writes about.
        fn read(&self, base_url: &str) {
            let mut client = Client::new(base_url);
            for number in 0.. {
                if self.stop.load(Ordering::Relaxed) {
                    return;
                }
                let path = format!("/api/recommend/tea-user-{}?n=5", number % 8);
                let answer = client.send("GET", &path, &[], None);
                let mut record = self.record.lock().unwrap();
                match answer {
                    Ok(answer) if answer.status == 200 => record.reads += 1,
                    Ok(answer) => record.failed_reads.push(format!("{}: {}", answer.status, answer.text())),
                    Err(reason) => record.failed_reads.push(reason.to_string()),
                }
                drop(record);
                sleep(Duration::from_millis(2));
            }
        }

        fn acknowledged(&self) -> usize {
            self.record.lock().unwrap().acknowledged.len()
        }
    }

    /// How long writes failed: the last failure, counted from the end of a server and from when it was started again.
    struct Recovery {
        after_end: Duration,
        after_start: Duration,
    }

    /// Lets something end and come back under load. No acknowledged write may be missing, none may be there twice, and no
    /// read may fail.
    fn outage(
        cluster: &mut Cluster,
        end: impl FnOnce(&mut Cluster),
        back: impl FnOnce(&mut Cluster),
    ) -> Recovery {
        two_tastes().load(&mut cluster.client());
        let mut client = cluster.client();
        wait_until("there are models", MINUTE, || client.has_models());
        for number in 0..8 {
            client.recommend(&format!("tea-user-{number}"), 5);
        }
        let servers: Vec<String> = cluster.members(Role::Server).map(|member| member.base_url()).collect();
        let load = Load { record: Mutex::default(), stop: AtomicBool::new(false) };
        let (ended, started) = std::thread::scope(|scope| {
            for number in 0..WRITERS {
                let (load, server) = (&load, &servers[number % servers.len()]);
                scope.spawn(move || load.write(server, &format!("writer-{number}")));
            }
            for server in &servers {
                scope.spawn(|| load.read(server));
            }
            sleep(CALM);
            let ended = Instant::now();
            end(cluster);
            sleep(AWAY);
            let started = Instant::now();
            back(cluster);
            // Every writer meets the service again.
            let before = load.acknowledged();
            wait_until("writes are answered again", MINUTE, || load.acknowledged() > before + 10 * WRITERS);
            sleep(CALM);
            load.stop.store(true, Ordering::Relaxed);
            (ended, started)
        });
        let record = load.record.into_inner().unwrap();
        check_rows(cluster, &record.acknowledged);
        let early = record.failed.iter().filter(|at| **at < ended).count();
        assert_eq!(early, 0, "writes failed before anything had happened");
        assert_eq!(record.failed_reads, Vec::<String>::new(), "of {} reads", record.reads);
        let last = record.failed.iter().max().copied().unwrap_or(ended);
        let recovery =
            Recovery { after_end: last - ended, after_start: last.saturating_duration_since(started) };
        eprintln!(
            "{} writes acknowledged, {} failed, {} reads; the last failure {:?} after the end, {:?} after the start",
            record.acknowledged.len(),
            record.failed.len(),
            record.reads,
            recovery.after_end,
            recovery.after_start,
        );
        recovery
    }

    /// Every acknowledged row is there; no row has been added twice.
    fn check_rows(cluster: &Cluster, acknowledged: &BTreeSet<(String, String)>) {
        let mut rows = BTreeMap::new();
        for line in cluster.postgres.query(ROWS).unwrap().lines() {
            let fields: Vec<&str> = line.split('|').collect();
            let [user, item, value] = fields[..] else { panic!("{line}") };
            rows.insert((user.to_owned(), item.to_owned()), value.parse::<f64>().unwrap());
        }
        for row in acknowledged {
            assert!(rows.contains_key(row), "{row:?} was acknowledged and is not there");
        }
        let twice: Vec<_> = rows.iter().filter(|(_, value)| **value != 1.0).collect();
        assert!(twice.is_empty(), "{twice:?}");
    }

    fn cluster() -> Cluster {
        let settings = format!("{TWO_TASTES_CONFIG}\n[training]\nquiet = '1s'\n");
        Cluster::builder().servers(2).configured(&settings).start()
    }

    fn only(nats: &mut Nats) -> &mut NatsServer {
        match nats {
            Nats::Single(nats) => nats,
            Nats::Cluster(_) => panic!("there are three"),
        }
    }

    fn three(cluster: &mut Cluster) -> &mut NatsCluster {
        match &mut cluster.nats {
            Nats::Cluster(nats) => nats,
            Nats::Single(_) => panic!("there is one"),
        }
    }

    const SOON: Duration = Duration::from_secs(8);

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn nats_is_killed_and_comes_back() {
        let mut cluster = cluster();
        let took = outage(
            &mut cluster,
            |cluster| only(&mut cluster.nats).kill(),
            |cluster| only(&mut cluster.nats).restart(),
        );
        assert!(took.after_start < SOON, "{:?}", took.after_start);
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn postgres_is_killed_and_comes_back() {
        let mut cluster = cluster();
        let took =
            outage(&mut cluster, |cluster| cluster.postgres.kill(), |cluster| cluster.postgres.restart());
        assert!(took.after_start < SOON, "{:?}", took.after_start);
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn redis_is_killed_and_comes_back_empty() {
        let mut cluster = cluster();
        let took = outage(&mut cluster, |cluster| cluster.redis.kill(), |cluster| cluster.redis.restart());
        assert!(took.after_start < SOON, "{:?}", took.after_start);
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn one_of_three_nats_is_killed_and_comes_back() {
        let settings = format!("{TWO_TASTES_CONFIG}\n[training]\nquiet = '1s'\n");
        let mut cluster = Cluster::builder().servers(2).three_nats().configured(&settings).start();
        let killed = Cell::new(0);
        let took = outage(
            &mut cluster,
            |cluster| {
                let nats = three(cluster);
                killed.set(nats.leader().expect("one leads"));
                nats.node(killed.get()).kill();
            },
            |cluster| {
                // Writes are answered by the other two meanwhile.
                let mut client = cluster.client();
                let write = json!([feedback("like", "tea-user-39", "tea-39")]);
                wait_until("two of three take a write", MINUTE, || {
                    client.send_json("POST", "/api/feedback", &write).is_ok_and(|answer| answer.status == 200)
                });
                three(cluster).node(killed.get()).restart();
            },
        );
        // The two that are left wait four to nine seconds for the lost one before they elect another.
        assert!(took.after_end < SOON * 3, "{:?}", took.after_end);
    }
}
