//! Talking to the program as a web application would.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ulex_domain::Timestamp;
use ulex_launcher::http_client::HttpClient;
pub use ulex_launcher::http_client::{Answer, HttpError};

/// How long a server may have no time.
const PATIENCE: Duration = Duration::from_secs(10);

/// One connection to one server. The methods that return values stop the test on any other answer than 200.
pub struct Client(HttpClient);

impl Client {
    /// Will talk to `base_url`.
    ///
    /// # Panics
    ///
    /// Panics if that is no address.
    #[must_use]
    pub fn new(base_url: &str) -> Self {
        Self(HttpClient::new(base_url).unwrap())
    }

    /// Sends any request and returns any answer.
    ///
    /// # Errors
    ///
    /// [`HttpError`] if there is none; the request may have had its effect.
    pub fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Answer, HttpError> {
        self.0.send(method, path, headers, body)
    }

    /// Sends JSON and returns any answer.
    ///
    /// # Errors
    ///
    /// [`HttpError`] if there is none; the request may have had its effect.
    pub fn send_json(&mut self, method: &str, path: &str, body: &Value) -> Result<Answer, HttpError> {
        self.0.send_json(method, path, body)
    }

    /// `GET path`, as JSON. A server that says that it has no time now (503) is asked again, as clients do; tests of
    /// when it may say so use [`Client::send`].
    ///
    /// # Panics
    ///
    /// Panics unless the answer is 200 and JSON, for a server without time after ten seconds.
    pub fn get(&mut self, path: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let answer = loop {
            let answer = self.0.get(path).unwrap_or_else(|error| panic!("GET {path}: {error}"));
            if answer.status != 503 || Instant::now() > deadline {
                break answer;
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.text());
        answer.json().unwrap_or_else(|error| panic!("GET {path}: {error}: {}", answer.text()))
    }

    /// `POST path`.
    ///
    /// # Panics
    ///
    /// Panics unless the answer is 200.
    pub fn post(&mut self, path: &str, body: &Value) {
        let answer =
            self.send_json("POST", path, body).unwrap_or_else(|error| panic!("POST {path}: {error}"));
        assert_eq!(answer.status, 200, "POST {path}: {}", answer.text());
    }

    /// The status of `GET path`; `None` if nobody answers.
    pub fn status(&mut self, path: &str) -> Option<u16> {
        self.0.get(path).ok().map(|answer| answer.status)
    }

    /// Item ids of `GET /api/recommend/{user}?n={n}`.
    ///
    /// # Panics
    ///
    /// Panics unless the answer is a list of strings.
    pub fn recommend(&mut self, user: &str, n: usize) -> Vec<String> {
        let list = self.get(&format!("/api/recommend/{user}?n={n}"));
        serde_json::from_value(list.clone()).unwrap_or_else(|error| panic!("{error}: {list}"))
    }

    /// Whether a trained model is in use.
    ///
    /// # Panics
    ///
    /// Panics unless the figures of the dashboard are there.
    pub fn has_models(&mut self) -> bool {
        self.get("/api/dashboard/stats")["MatchingModelFitTime"] != json!(Timestamp::ZERO)
    }

    /// Ids of a list of scored things, such as neighbours.
    ///
    /// # Panics
    ///
    /// Panics unless the answer is a list of objects with `Id`.
    pub fn scored(&mut self, path: &str) -> Vec<String> {
        let list = self.get(path);
        let entries = list.as_array().unwrap_or_else(|| panic!("{path}: {list}"));
        entries
            .iter()
            .map(|entry| entry["Id"].as_str().unwrap_or_else(|| panic!("{path}: {list}")).to_owned())
            .collect()
    }
}
