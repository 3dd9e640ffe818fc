//! `ulex demo`: makes the shop, starts everything in this process, and tells the story with requests over HTTP, as any
//! web application would send them.

use std::io::{IsTerminal, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;
use tempfile::TempDir;
use thiserror::Error;
use ulex_domain::{ItemId, Timestamp, UserId};
use ulex_settings::{LoadError, from_toml};

use super::shop::{Shop, generate};
use super::{configuration, story};
use crate::command_line::DemoArguments;
use crate::configuration::{Voice, start_logging};
use crate::exit::{self, print};
use crate::http_client::{HttpClient, HttpError};
use crate::one;
use crate::parts::StartError;
use crate::role::system;
use crate::signals;

/// The port of Gorse, and ours.
const USUAL_PORT: u16 = 8088;

/// Rows in one request.
const ROWS_PER_REQUEST: usize = 2000;

/// The first training cycle takes seconds; on a machine that is very busy, minutes.
const TRAINED_WITHIN: Duration = Duration::from_secs(600);

const LOOK: Duration = Duration::from_millis(100);

/// Why the story could not be told.
#[derive(Debug, Error)]
enum DemoError {
    #[error("{0}")]
    Start(#[from] StartError),
    #[error("{0}")]
    Settings(#[from] LoadError),
    #[error("{path}: {source}")]
    Folder { path: PathBuf, source: std::io::Error },
    #[error(
        "{0} holds data already; choose another directory, or serve what is there: \
         ulex one -c {0}/demo.toml --data-dir {0}"
    )]
    Occupied(String),
    #[error("{0}")]
    Http(#[from] HttpError),
    #[error("{request} answered {status}: {body}")]
    Answer { request: String, status: u16, body: String },
    #[error("no model is live after {} s; set ULEX_LOG=info to see why", TRAINED_WITHIN.as_secs())]
    Untrained,
    #[error("the story broke off")]
    BrokeOff,
}

/// Runs the command.
pub fn run(arguments: &DemoArguments) -> ExitCode {
    match system().block_on(perform(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::failed(&error),
    }
}

async fn perform(arguments: &DemoArguments) -> Result<(), DemoError> {
    let port = arguments.port.unwrap_or_else(usual_port);
    let toml = configuration(port);
    let settings = from_toml(&toml)?.settings;
    // Whoever set ULEX_LOG wrongly has been told, and the story does not need a log.
    let _ = start_logging(&settings, Voice::Command);
    let stage = Stage::set(arguments, &toml)?;
    let shutdown = signals::listen().map_err(|source| StartError::Threads(source.to_string()))?;
    let one = one::start(settings, stage.path()).await?;
    let base_url = format!("http://127.0.0.1:{}", one.address().port());
    let (seed, stays) = (arguments.seed, stays(arguments));
    let telling = tokio::task::spawn_blocking(move || tell(&base_url, seed));
    let told = tokio::select! {
        told = telling => told.unwrap_or(Err(DemoError::BrokeOff)),
        () = shutdown.requested() => Ok(()),
    };
    if told.is_ok() && stays && !shutdown.is_requested() {
        print("\nServing until Ctrl-C.\n");
        shutdown.requested().await;
    }
    one.stop().await;
    if told.is_ok() {
        stage.leave();
    }
    told
}

/// Whether to go on serving: where somebody is watching, or was asked for.
fn stays(arguments: &DemoArguments) -> bool {
    arguments.keep || (!arguments.once && std::io::stdout().is_terminal())
}

/// The usual port, or any (0) if somebody has it.
fn usual_port() -> u16 {
    TcpListener::bind(("127.0.0.1", USUAL_PORT)).map_or(0, |_free| USUAL_PORT)
}

/// Where the shop is kept.
enum Stage {
    /// Gone when this is dropped.
    Passing(TempDir),
    Lasting(PathBuf),
}

impl Stage {
    fn set(arguments: &DemoArguments, toml: &str) -> Result<Self, DemoError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| DemoError::Folder { path, source }
        };
        let path = match &arguments.data_dir {
            Some(path) if path.join("data.sqlite").exists() => {
                return Err(DemoError::Occupied(path.display().to_string()));
            }
            Some(path) => path.clone(),
            None => {
                let passing = tempfile::Builder::new()
                    .prefix("ulex-demo-")
                    .tempdir()
                    .map_err(failed(Path::new("temp")))?;
                if !arguments.keep {
                    return Ok(Self::Passing(passing));
                }
                passing.keep()
            }
        };
        std::fs::create_dir_all(&path).map_err(failed(&path))?;
        std::fs::write(path.join("demo.toml"), toml).map_err(failed(&path))?;
        Ok(Self::Lasting(path))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Passing(folder) => folder.path(),
            Self::Lasting(path) => path,
        }
    }

    /// Says where the shop is, if it is still there.
    fn leave(self) {
        if let Self::Lasting(path) = self {
            let path = path.display();
            print(&format!("The shop is kept: ulex one -c {path}/demo.toml --data-dir {path}\n"));
        }
    }
}

/// The whole story, told on standard output. Blocks.
fn tell(base_url: &str, seed: u64) -> Result<(), DemoError> {
    let shop = generate(seed, Timestamp::now());
    print(&story::introduction(&shop));
    let mut visitor = Visitor(HttpClient::new(base_url)?);
    let begun = Instant::now();
    visitor.load(&shop)?;
    print(&format!("loaded over REST in {:.1} s\n", begun.elapsed().as_secs_f64()));
    let begun = Instant::now();
    visitor.wait_for_models()?;
    print(&format!(
        "trained without being asked; a model is live {:.1} s later\n\n",
        begun.elapsed().as_secs_f64()
    ));
    print(&story::three_tastes(&shop, |user, n| visitor.recommend(user, n))?);
    let visitor = std::cell::RefCell::new(visitor);
    let after_click = story::one_click(
        &shop,
        Timestamp::now(),
        |user, n| visitor.borrow_mut().recommend(user, n),
        |row| visitor.borrow_mut().send("POST", "/api/feedback", &[row]),
    )?;
    print(&format!("\n{after_click}\n{}", story::what_next(&shop, base_url)));
    Ok(())
}

/// Somebody who talks to the shop's recommender.
struct Visitor(HttpClient);

impl Visitor {
    fn load(&mut self, shop: &Shop) -> Result<(), DemoError> {
        for users in shop.users.chunks(ROWS_PER_REQUEST) {
            self.send("POST", "/api/users", users)?;
        }
        for items in shop.items.chunks(ROWS_PER_REQUEST) {
            self.send("POST", "/api/items", items)?;
        }
        for rows in shop.feedback.chunks(ROWS_PER_REQUEST) {
            self.send("PUT", "/api/feedback", rows)?;
        }
        Ok(())
    }

    fn send<T: Serialize>(&mut self, method: &str, path: &str, rows: &[T]) -> Result<(), DemoError> {
        let body = serde_json::to_value(rows).expect("domain types print");
        let answer = self.0.send_json(method, path, &body)?;
        if answer.status == 200 {
            return Ok(());
        }
        let request = format!("{method} {path}");
        Err(DemoError::Answer { request, status: answer.status, body: answer.text() })
    }

    fn get(&mut self, path: &str) -> Result<serde_json::Value, DemoError> {
        let answer = self.0.get(path)?;
        let refused =
            |body| DemoError::Answer { request: format!("GET {path}"), status: answer.status, body };
        if answer.status != 200 {
            return Err(refused(answer.text()));
        }
        answer.json().map_err(|error| refused(error.to_string()))
    }

    fn recommend(&mut self, user: &UserId, n: usize) -> Result<Vec<ItemId>, DemoError> {
        let list = self.get(&format!("/api/recommend/{user}?n={n}"))?;
        let items = list.as_array().map(Vec::as_slice).unwrap_or_default().iter();
        Ok(items.filter_map(|item| item.as_str().map(ItemId::new)).collect())
    }

    /// Waits until a model is live, and shows what is going on meanwhile.
    fn wait_for_models(&mut self) -> Result<(), DemoError> {
        let begun = Instant::now();
        let mut line = ProgressLine::new();
        while begun.elapsed() < TRAINED_WITHIN {
            let stats = self.get("/api/dashboard/stats")?;
            if stats["MatchingModelFitTime"] != json!(Timestamp::ZERO) {
                line.clear();
                return Ok(());
            }
            let tasks = self.get("/api/dashboard/tasks")?;
            if let Some(task) = running(&tasks) {
                line.show(&task);
            }
            std::thread::sleep(LOOK);
        }
        Err(DemoError::Untrained)
    }
}

/// Name and progress of a running task.
fn running(tasks: &serde_json::Value) -> Option<String> {
    let running = tasks.as_array()?.iter().rfind(|task| task["Status"] == "Running")?;
    let (name, count, total) =
        (running["Name"].as_str()?, running["Count"].as_u64()?, running["Total"].as_u64()?);
    Some(if total > 1 { format!("{name} {count}/{total}") } else { name.to_owned() })
}

/// One line on standard error that is overwritten; without a terminal a line for each new text.
struct ProgressLine {
    terminal: bool,
    last: String,
}

impl ProgressLine {
    fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), last: String::new() }
    }

    fn show(&mut self, text: &str) {
        // The counter of a task is for those who see it move.
        let text = if self.terminal {
            text
        } else {
            text.trim_end_matches(|c: char| c.is_ascii_digit() || c == '/')
        };
        if text == self.last {
            return;
        }
        text.clone_into(&mut self.last);
        let mut error = std::io::stderr().lock();
        // Nobody can be told that standard error is closed.
        let _ = if self.terminal {
            write!(error, "\r\x1b[2Ktraining: {text}").and_then(|()| error.flush())
        } else {
            writeln!(error, "training: {}", text.trim_end())
        };
    }

    fn clear(&self) {
        if self.terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_task_that_runs_is_named_with_its_progress() {
        let task = |name: &str, status: &str, total: u64| json!({"Name": name, "Status": status, "Count": 3, "Total": total});
        let tasks =
            json!([task("Load", "Complete", 1), task("Fit", "Running", 10), task("Wait", "Pending", 2)]);
        assert_eq!(running(&tasks).as_deref(), Some("Fit 3/10"));
        assert_eq!(running(&json!([task("Load", "Running", 1)])).as_deref(), Some("Load"));
        assert_eq!(running(&json!([])), None);
    }

    #[test]
    fn a_directory_with_data_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("data.sqlite"), "").unwrap();
        let data_dir = Some(folder.path().to_owned());
        let arguments = DemoArguments { port: None, data_dir, keep: true, once: false, seed: 1 };
        assert!(matches!(Stage::set(&arguments, ""), Err(DemoError::Occupied(_))));
    }
}
