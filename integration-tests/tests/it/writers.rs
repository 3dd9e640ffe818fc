//! Several connections that write rows of their own, and what is known about these rows afterwards.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use ulex_integration_tests::datasets::feedback;
use ulex_integration_tests::{Client, Ulex, wait_until};

const CONNECTIONS: usize = 8;

/// Acknowledged rows after which the end comes.
const ENOUGH: usize = 400;

/// What each of [`CONNECTIONS`] has written so far.
pub struct Writers {
    written: Vec<Written>,
    rounds: usize,
}

/// Rows of one user, by item.
#[derive(Default)]
struct Written {
    acknowledged: Vec<String>,
    /// Sent, and nobody knows: the answer never came.
    open: Option<String>,
}

impl Default for Writers {
    fn default() -> Self {
        Self { written: (0..CONNECTIONS).map(|_| Written::default()).collect(), rounds: 0 }
    }
}

impl Writers {
    /// Writes on all connections, lets `end` happen in the middle of it, and waits until every writer has noticed.
    pub fn write_until(&mut self, ulex: &mut Ulex, end: impl FnOnce(&mut Ulex)) {
        let (acknowledged, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let round = self.rounds;
        self.rounds += 1;
        let clients: Vec<Client> = self.written.iter().map(|_| ulex.client()).collect();
        std::thread::scope(|scope| {
            let state = (&acknowledged, &stop);
            for (number, (client, written)) in clients.into_iter().zip(&mut self.written).enumerate() {
                scope.spawn(move || written.write(client, (number, round), state));
            }
            wait_until("enough rows are acknowledged", Duration::from_secs(60), || {
                acknowledged.load(Ordering::Relaxed) >= ENOUGH
            });
            end(ulex);
            stop.store(true, Ordering::Relaxed);
        });
    }

    /// Every acknowledged row is there once; of the others, each may be there, once.
    pub fn check(&mut self, client: &mut Client) {
        for (number, written) in self.written.iter_mut().enumerate() {
            let user = user(number);
            let rows = stored(client, &user);
            for item in &written.acknowledged {
                assert_eq!(rows.get(item), Some(&1.0), "{user}: {item}");
            }
            assert!(rows.values().all(|&value| value == 1.0), "a row was applied twice: {rows:?}");
            let open = written.open.take().filter(|item| rows.contains_key(item));
            written.acknowledged.extend(open);
            assert_eq!(rows.len(), written.acknowledged.len(), "{user} has rows nobody sent: {rows:?}");
        }
    }
}

fn user(number: usize) -> String {
    format!("writer-{number}")
}

impl Written {
    /// Writes until the connection breaks, the server takes no more, or `stop` says so.
    fn write(
        &mut self,
        mut client: Client,
        (number, round): (usize, usize),
        (acknowledged, stop): (&AtomicUsize, &AtomicBool),
    ) {
        let user = user(number);
        for row in 0.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let item = format!("r{round}-{row}");
            match client.send_json("POST", "/api/feedback", &json!([feedback("watch", &user, &item)])) {
                Ok(answer) if answer.status == 200 => self.acknowledged.push(item),
                Ok(answer) if matches!(answer.status, 503 | 504) => return self.open = Some(item),
                Ok(answer) => panic!("{}: {}", answer.status, answer.text()),
                Err(_) => return self.open = Some(item),
            }
            acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What is stored of a user: item → value.
pub fn stored(client: &mut Client, user: &str) -> BTreeMap<String, f64> {
    let rows = client.get(&format!("/api/user/{user}/feedback/watch"));
    let pair = |row: &Value| (row["ItemId"].as_str().unwrap().to_owned(), row["Value"].as_f64().unwrap());
    let pairs: Vec<(String, f64)> = rows.as_array().unwrap().iter().map(pair).collect();
    let n = pairs.len();
    let map: BTreeMap<String, f64> = pairs.into_iter().collect();
    assert_eq!(map.len(), n, "a row is listed twice");
    map
}
