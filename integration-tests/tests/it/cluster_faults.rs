//! A cluster of real processes over real servers, and what is left when they are killed.

mod on_cluster {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use serde_json::{Value, json};
    use ulex_integration_tests::datasets::{TWO_TASTES_CONFIG, feedback, two_tastes};
    use ulex_integration_tests::{Client, Cluster, Publisher, Role, Ulex, ulex, wait_until};

    /// The first fit comes soon, later ones only when they are due by growth.
    fn soon(more: &str) -> String {
        format!("{TWO_TASTES_CONFIG}\n[training]\nquiet = '1s'\n{more}")
    }
    const MINUTE: Duration = Duration::from_secs(60);

    fn printed(arguments: &[&str]) -> String {
        let output = ulex(arguments);
        let (said, complained) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {said}{complained}");
        said.into_owned()
    }

    /// A line of the description of the live model.
    fn described(models: &[&str], name: &str) -> String {
        let list = printed(&[&["models", "list"], models].concat());
        let id = list.split_whitespace().find(|word| word.starts_with("ms-")).expect("a model is listed");
        let text = printed(&[&["models", "show", id], models].concat());
        let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().to_owned()
    }

    fn checksum(arguments: &[&str]) -> String {
        printed(&[&["data", "checksum"], arguments].concat())
    }

    fn file(cluster: &Cluster) -> String {
        cluster.folder().join("ulex.toml").display().to_string()
    }

    /// Lists of some users, through one process.
    fn lists(client: &mut Client, users: &[&str]) -> BTreeMap<String, Vec<String>> {
        users.iter().map(|user| ((*user).to_owned(), client.recommend(user, 10))).collect()
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn a_cluster_learns_and_recommends_what_one_process_does_on_the_same_data() {
        let one = {
            let mut one = Ulex::configured(&soon(""));
            two_tastes().load(&mut one.client());
            wait_until("one process has models", MINUTE, || one.client().has_models());
            let users = ["tea-user-0", "bike-user-1", "nobody"];
            let lists = lists(&mut one.client(), &users);
            one.stop();
            let directory = one.data_dir().display().to_string();
            (lists, described(&["--data-dir", &directory], "content"))
        };
        let mut cluster = Cluster::builder().servers(2).configured(&soon("")).start();
        two_tastes().load(&mut cluster.client());
        for number in 0..2 {
            let mut client = cluster.member(Role::Server, number).client();
            wait_until("the server has models", MINUTE, || client.has_models());
            let users: Vec<&str> = one.0.keys().map(String::as_str).collect();
            assert_eq!(lists(&mut client, &users), one.0, "server {number}");
        }
        assert_eq!(described(&["-c", &file(&cluster)], "content"), one.1);
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn a_write_is_known_where_it_was_answered_whoever_applied_it() {
        let mut cluster = Cluster::builder().workers(0).servers(2).start();
        for round in 0..30 {
            for number in 0..2 {
                let mut client = cluster.member(Role::Server, number).client();
                let id = format!("item {round} {number}");
                let item =
                    json!({"ItemId": id, "Timestamp": format!("2030-01-01T00:{round:02}:{number:02}Z")});
                client.post("/api/item", &item);
                assert_eq!(client.scored("/api/latest?n=1"), [id.as_str()]);
                client
                    .send_json(
                        "PATCH",
                        &format!("/api/item/item%20{round}%20{number}"),
                        &json!({"IsHidden": true}),
                    )
                    .unwrap();
                assert!(!client.scored("/api/latest?n=100").contains(&id), "{id} is hidden");
            }
        }
    }

    /// Sends events in a known order: repeated ones, senseless ones, and such whose order matters.
    fn publish(publisher: &Publisher, count: usize) -> usize {
        let mut senseless = 0;
        for number in 0..count {
            let (user, item) = (format!("u{}", number % 97), format!("i{}", number % 31));
            let row = |operation: &str| {
                json!({"Op": operation, "FeedbackType": "read", "UserId": user, "ItemId": item, "Value": 1,
                       "Timestamp": "2024-01-01T00:00:00Z", "EventId": format!("e{number}")})
            };
            let body = match number % 100 {
                0 => {
                    senseless += 1;
                    b"{\"FeedbackType\": \"read\"}".to_vec()
                }
                1..70 => row("post").to_string().into_bytes(),
                70..90 => {
                    let mut row = row("put");
                    row["Value"] = json!(number);
                    row.to_string().into_bytes()
                }
                _ => row("delete").to_string().into_bytes(),
            };
            publisher.append("ulex.v1.default.event.feedback.x", &body);
            if number % 20 == 19 {
                publisher.append("ulex.v1.default.event.feedback.x", &body);
            }
        }
        senseless
    }

    /// The position in the log of the last message that was applied.
    fn applied(cluster: &Cluster) -> u64 {
        let position = cluster.postgres.query("SELECT COALESCE(max(sequence), 0) FROM positions").unwrap();
        position.trim().parse::<u64>().unwrap() >> 16
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn events_take_effect_once_and_in_order_while_ingesters_are_killed() {
        const EVENTS: usize = 100_000;
        /// Every twentieth is sent twice.
        const MESSAGES: u64 = EVENTS as u64 / 20 * 21;
        const ROUNDS: usize = 10;
        let mut cluster = Cluster::builder().workers(0).servers(3).start();
        let publisher = Publisher::connect(&cluster.nats_urls());
        let senseless = std::thread::scope(|scope| {
            let publishing = scope.spawn(|| publish(&publisher, EVENTS));
            let mut killed_at = Vec::new();
            while !publishing.is_finished() || killed_at.len() < ROUNDS {
                // In the middle of work: whoever takes over from a dead process begins after four seconds.
                let enough = (applied(&cluster) + MESSAGES / ROUNDS as u64 / 2).min(MESSAGES);
                wait_until("somebody ingests", MINUTE, || applied(&cluster) >= enough);
                killed_at.push(applied(&cluster));
                for number in [killed_at.len(), killed_at.len() + 1] {
                    let member = cluster.member(Role::Server, number % 3);
                    member.kill();
                    member.restart_without_waiting();
                }
            }
            eprintln!("two of three ingesters were killed when so many events were applied: {killed_at:?}");
            publishing.join().unwrap()
        });
        cluster.wait_until_ready();
        let configuration = file(&cluster);
        let last = publisher.last("EVENTS");
        wait_until("everything is applied", MINUTE * 2, || applied(&cluster) >= last);
        // Those of the last transaction are kept after it.
        let letters = || printed(&["events", "dead", "list", "--limit", "100000", "-c", &configuration]);
        let count = || letters().matches("malformed").count();
        wait_until("all that have no sense are kept", MINUTE, || count() >= senseless);
        // The reference: the log folded by one reader, in order, into an empty store.
        let folder = tempfile::tempdir().unwrap();
        let empty = format!("sqlite://{}", folder.path().join("replayed.sqlite").display());
        let replay = ["events", "replay", "--from", "start", "--into", &empty, "-c", &configuration];
        printed(&replay);
        let expected = checksum(&["--store", &empty]);
        assert_eq!(checksum(&["-c", &configuration]), expected);
        assert_eq!(count(), senseless, "{}", letters());
        printed(&replay);
        assert_eq!(checksum(&["--store", &empty]), expected, "a second replay changes nothing");
    }

    /// Reads until it is told to stop; how many answers there were, and how many failures.
    fn read(base_url: &str, stop: &AtomicBool, failures: &AtomicUsize) -> usize {
        let mut client = Client::new(base_url);
        let mut answers = 0;
        while !stop.load(Ordering::Relaxed) {
            match client.send("GET", &format!("/api/recommend/tea-user-{}?n=5", answers % 8), &[], None) {
                Ok(answer) if answer.status == 200 => answers += 1,
                Ok(_) | Err(_) => {
                    failures.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        answers
    }

    fn leader(cluster: &mut Cluster) -> Option<usize> {
        let leads = |log: String| {
            let place = |words: &str| log.rfind(words);
            place("this master leads") > place("this master does not lead any more")
        };
        cluster.members(Role::Master).position(|member| member.is_running() && leads(member.log()))
    }

    /// How often a master other than this one has begun to lead.
    fn reigns_of_others(cluster: &mut Cluster, one: usize) -> usize {
        let others = cluster.members(Role::Master).enumerate().filter(|(number, _)| *number != one);
        others.map(|(_, member)| member.log().matches("this master leads").count()).sum()
    }

    /// What happens to the leader, and how long it takes until another one leads; reads go on meanwhile.
    fn depose(cluster: &mut Cluster, end: impl FnOnce(&mut Cluster, usize)) -> Duration {
        let (stop, failures) = (AtomicBool::new(false), AtomicUsize::new(0));
        let server = cluster.member(Role::Server, 0).base_url();
        let before = leader(cluster).expect("somebody leads");
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| read(&server, &stop, &failures));
            let (reigns, deposed_at) = (reigns_of_others(cluster, before), Instant::now());
            end(cluster, before);
            wait_until("another master leads", MINUTE, || reigns_of_others(cluster, before) > reigns);
            let took = deposed_at.elapsed();
            stop.store(true, Ordering::Relaxed);
            assert!(reading.join().unwrap() > 0);
            assert_eq!(failures.load(Ordering::Relaxed), 0, "failed reads");
            took
        })
    }

    fn epoch(cluster: &Cluster) -> u64 {
        let text = printed(&["models", "list", "-c", &file(cluster)]);
        text.matches("ms-").count() as u64
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn another_master_leads_soon_when_the_leader_is_killed_or_held_still() {
        const META_TIMEOUT: Duration = Duration::from_secs(2);
        let settings = soon("[master]\nmeta_timeout = '2s'\n");
        let mut cluster = Cluster::builder().masters(3).configured(&settings).start();
        two_tastes().load(&mut cluster.client());
        let mut client = cluster.client();
        wait_until("there are models", MINUTE, || client.has_models());
        let took = depose(&mut cluster, |cluster, number| cluster.member(Role::Master, number).kill());
        assert!(took < META_TIMEOUT * 2 + Duration::from_secs(1), "{took:?}");
        eprintln!("killed leader: another one after {took:?}");
        let models = epoch(&cluster);
        wait_until("the new one is known", MINUTE, || leader(&mut cluster).is_some());
        let mut held = 0;
        let took = depose(&mut cluster, |cluster, number| {
            held = number;
            cluster.member(Role::Master, number).pause();
        });
        assert!(took < META_TIMEOUT * 2 + Duration::from_secs(1), "{took:?}");
        eprintln!("leader held still: another one after {took:?}");
        cluster.member(Role::Master, held).resume();
        wait_until("the woken one knows that it does not lead", MINUTE, || {
            cluster.member(Role::Master, held).log().contains("this master does not lead any more")
        });
        // Data comes; only the present leader makes models of it.
        for number in 0..200 {
            let row = feedback("like", &format!("late{}", number % 20), &format!("tea-{}", number % 10));
            client.post("/api/feedback", &Value::Array(vec![row]));
        }
        wait_until("a newer model", MINUTE, || epoch(&cluster) > models);
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn every_list_is_written_although_workers_are_killed() {
        const USERS: usize = 5_000;
        let patient = soon("[serving]\nrequest_timeout = '60s'\n");
        let mut cluster = Cluster::builder().workers(2).configured(&patient).start();
        two_tastes().load(&mut cluster.client());
        let rows: Vec<Value> = (0..USERS)
            .map(|number| feedback("like", &format!("many{number}"), &format!("tea-{}", number % 10)))
            .collect();
        cluster.client().post("/api/feedback", &Value::Array(rows));
        let mut client = cluster.client();
        wait_until("there are models", MINUTE, || client.has_models());
        let redis = cluster.redis.address();
        let mut kills_during_work = 0;
        for round in 1..=4 {
            wait_until("another eighth is written", MINUTE * 5, || lists_in(&redis) >= round * USERS / 8);
            let worker = cluster.member(Role::Worker, round % 2);
            worker.kill();
            worker.restart_without_waiting();
            kills_during_work += usize::from(lists_in(&redis) < USERS);
        }
        assert!(kills_during_work > 0, "there was nothing left to do");
        cluster.wait_until_ready();
        wait_until("every list is there", MINUTE * 5, || lists_in(&redis) >= USERS);
    }

    #[test]
    #[ignore = "needs NATS, PostgreSQL and Redis: ULEX_TEST_NATS_SERVER"]
    fn the_dashboard_shows_how_every_process_is() {
        let settings = soon("[master]\nmeta_timeout = '2s'\n");
        let mut cluster = Cluster::builder().masters(2).workers(1).servers(2).configured(&settings).start();
        let mut client = cluster.client();
        two_tastes().load(&mut client);
        wait_until("there are models", MINUTE, || client.has_models());
        let reports = |nodes: &Value| -> Vec<(String, String)> {
            let nodes = nodes.as_array().unwrap().iter();
            let told = nodes.filter(|node| node["RSS"].as_u64() > Some(1 << 20) && node["CPU"].is_number());
            told.map(|node| {
                let text = |key: &str| node[key].as_str().unwrap().to_owned();
                (text("Type"), text("ModelSet"))
            })
            .collect()
        };
        wait_until("all have reported the same ModelSet", MINUTE, || {
            let told = reports(&client.get("/api/dashboard/cluster"));
            let types: Vec<&str> = told.iter().map(|(kind, _)| kind.as_str()).collect();
            let is_same = told.iter().all(|(_, set)| *set == told[0].1 && set.starts_with("ms-"));
            types == ["Master", "Master", "Server", "Server", "Worker"] && is_same
        });
        cluster.member(Role::Worker, 0).kill();
        wait_until("the killed one is not shown any more", MINUTE, || {
            reports(&client.get("/api/dashboard/cluster")).len() == 4
        });
    }

    /// How many users have a finished list: more than the head of a value (`shared/storage/src/cache/redis/keys.rs`).
    fn lists_in(redis: &str) -> usize {
        use std::io::{BufRead as _, BufReader, Write as _};
        let script = "local n=0 for _,k in ipairs(redis.call('KEYS','*}umany*')) do if redis.call('STRLEN',k)>16 then n=n+1 end end return n";
        let mut connection = std::net::TcpStream::connect(redis).unwrap();
        let command = format!("*3\r\n$4\r\nEVAL\r\n${}\r\n{script}\r\n$1\r\n0\r\n", script.len());
        connection.write_all(command.as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(connection).read_line(&mut line).unwrap();
        line.trim().trim_start_matches(':').parse().unwrap_or_else(|_| panic!("{line}"))
    }
}
