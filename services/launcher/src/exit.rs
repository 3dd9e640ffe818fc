//! How commands that end by themselves run and speak: results on standard output, errors on standard error.

use std::fmt::Display;
use std::future::Future;
use std::io::Write;
use std::process::ExitCode;

/// Status of a command line or a configuration that makes no sense.
pub const USAGE: u8 = 2;

/// Prints a result. Whoever reads it may have gone away, which is not our failure.
pub fn print(text: &str) {
    let mut output = std::io::stdout().lock();
    let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
}

/// Says what went wrong, with status 1.
pub fn failed(error: &dyn Display) -> ExitCode {
    complain(error);
    ExitCode::FAILURE
}

/// Says what makes no sense, with status 2.
pub fn refused(error: &dyn Display) -> ExitCode {
    complain(error);
    ExitCode::from(USAGE)
}

fn complain(error: &dyn Display) {
    // Nobody can be told that standard error is closed.
    let _ = writeln!(std::io::stderr(), "ulex: {error}");
}

/// Runs a command that needs no actors.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be built at the start of a process")
        .block_on(work)
}

/// An error with what caused it.
pub struct WithCause<'a>(pub &'a dyn std::error::Error);

impl Display for WithCause<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(source) = next {
            write!(formatter, ": {source}")?;
            next = source.source();
        }
        Ok(())
    }
}
