//! A process that a test has started and may treat badly: killed, stopped, held still.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::wait_until;

/// How long a start or an orderly stop may take on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A running or ended process with its log. Killed with its children when dropped.
pub(crate) struct Running {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Running {
    /// Starts `command`; what it writes is appended to `log`.
    pub(crate) fn start(name: &str, command: &mut Command, log: &Path) -> Self {
        let file: File = OpenOptions::new().create(true).append(true).open(log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {command:?}: {error}"));
        Self { name: name.to_owned(), child, log: log.to_owned(), ended: None }
    }

    /// Its number in the table of processes.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it and its predecessors on the same file have written.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last `lines` lines of the log.
    pub(crate) fn last_words(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// How it ended, or `None` as long as it is there (also if it is held still).
    pub(crate) fn status(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap();
        }
        self.ended
    }

    /// Ends it and all its children as a power failure would: SIGKILL, no farewell.
    pub(crate) fn kill(&mut self) {
        if self.status().is_none() {
            self.signal_family("KILL");
            self.ended = Some(self.child.wait().unwrap());
        }
    }

    /// Asks it to end by a signal such as `TERM`, and waits until it has.
    pub(crate) fn stop(&mut self, signal: &str) -> ExitStatus {
        if self.status().is_none() {
            send(signal, &[self.child.id()]);
        }
        let what = format!("{} has ended after SIG{signal}", self.name);
        wait_until(&what, LIMIT, || self.status().is_some());
        self.status().unwrap()
    }

    /// Holds it and its children still, so that its connections stay open and nobody answers (SIGSTOP).
    pub(crate) fn pause(&self) {
        self.signal_family("STOP");
    }

    /// Lets it go on after [`Running::pause`].
    pub(crate) fn resume(&self) {
        self.signal_family("CONT");
    }

    /// Waits until `ready` says yes.
    ///
    /// Panics with the end of the log if the process ends instead or that takes too long.
    pub(crate) fn wait_until_ready(&mut self, mut ready: impl FnMut() -> bool) {
        let what = format!("{} is ready", self.name);
        wait_until(&what, LIMIT, || {
            if let Some(status) = self.status() {
                panic!("{} ended with {status}:\n{}", self.name, self.last_words(40));
            }
            ready()
        });
    }

    /// Waits until `ready` says yes; `false` if the process ends instead.
    pub(crate) fn became_ready(&mut self, mut ready: impl FnMut() -> bool) -> bool {
        let what = format!("{} is ready or has ended", self.name);
        let mut is_ready = false;
        wait_until(&what, LIMIT, || {
            is_ready = ready();
            is_ready || self.status().is_some()
        });
        is_ready
    }

    fn signal_family(&self, signal: &str) {
        // The parent first, so that it starts no more children; those that are there after that are all.
        send(signal, &[self.child.id()]);
        let children = children_of(self.child.id());
        if !children.is_empty() {
            send(signal, &children);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal_family("KILL");
            // It may have ended in between.
            let _ = self.child.wait();
        }
    }
}

/// Sends a signal. A process that is gone by now is no error: that is what a signal to it usually wants.
fn send(signal: &str, processes: &[u32]) {
    let mut command = Command::new("kill");
    command.arg("-s").arg(signal).args(processes.iter().map(u32::to_string)).stderr(Stdio::null());
    // `kill` fails if one of them is gone.
    let _ = command.status().unwrap();
}

/// The direct children of a process, from the table of processes; a dead parent that nobody has waited for still has its.
fn children_of(parent: u32) -> Vec<u32> {
    let numbers =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers.filter(|process| parent_of(*process) == Some(parent)).collect()
}

/// The parent stands behind the name of the command, which is in brackets and may hold anything, and the state.
fn parent_of(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
