//! How far an import is: a bar on a terminal, nothing elsewhere.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shows progress on standard error.
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// A bar if standard error is a terminal.
    #[must_use]
    pub fn on_terminal() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::quiet();
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let template = "{bar:30} {percent:>3} %  {msg}  {elapsed} elapsed, {eta} left";
        bar.set_style(ProgressStyle::with_template(template).expect("a constant template"));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(Some(bar))
    }

    /// Only what is [printed](Self::print).
    #[must_use]
    pub fn quiet() -> Self {
        Self(None)
    }

    /// How many bytes there are.
    pub fn total(&self, bytes: u64) {
        if let Some(bar) = &self.0 {
            bar.set_length(bytes);
        }
    }

    /// How many bytes were read and rows stored until now.
    pub fn advance(&self, bytes: u64, rows: u64) {
        if let Some(bar) = &self.0 {
            let rate = rows as f64 / bar.elapsed().as_secs_f64().max(1e-3);
            bar.set_message(format!("{rows} rows, {rate:.0} rows/s"));
            bar.set_position(bytes);
        }
    }

    /// Prints a line on standard error, above the bar.
    pub fn print(&self, line: &str) {
        match &self.0 {
            Some(bar) => bar.println(line),
            // Nobody can be told that standard error is closed.
            None => drop(writeln!(std::io::stderr(), "{line}")),
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
