//! `ulex events` and `ulex data`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use ulex_domain::Timestamp;

use super::DataDirectory;

/// `ulex events`.
#[derive(Args, Debug)]
#[command(
    arg_required_else_help = true,
    after_help = "\
The log is the stream EVENTS of a NATS server: what publishers and the REST API asked for. `ulex one` has no such
server: its log ends with its process, and these commands say so.

Examples:
  ulex events tail -c ulex.toml                       what comes in, as it comes
  ulex events dead list -c ulex.toml                  what could never be applied, and why
  ulex events dead replay 17 --body fixed.json -c ulex.toml
  ulex events replay --from start --into postgres://ulex@db/copy -c ulex.toml"
)]
pub struct EventsArguments {
    /// What to do.
    #[command(subcommand)]
    pub action: EventsAction,
    /// Where the log is.
    #[command(flatten)]
    pub place: LogPlace,
}

/// Where the log is.
#[derive(Args, Clone, Debug)]
pub struct LogPlace {
    /// Configuration file
    #[arg(short = 'c', long = "config", value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// NATS server, instead of the one that the configuration names; several are separated by commas
    #[arg(long = "nats", value_name = "URL", value_delimiter = ',', global = true)]
    pub nats: Vec<String>,
}

/// What can be done with the log.
#[derive(Debug, Subcommand)]
pub enum EventsAction {
    /// Events that could never be applied: list them, look at one, send them again
    Dead {
        /// What to do with them.
        #[command(subcommand)]
        action: DeadAction,
    },
    /// Apply the log to a data store; what the store has already has no effect
    Replay(ReplayArguments),
    /// Print what comes in, one line each, until Ctrl-C
    Tail {
        /// Where to begin: new, start, seq:N or time:RFC3339
        #[arg(long, value_name = "PLACE", default_value = "new")]
        from: LogFrom,
    },
}

/// What can be done with dead letters.
#[derive(Debug, Subcommand)]
pub enum DeadAction {
    /// Print them, oldest first
    List {
        /// At most so many, the newest ones
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
    },
    /// Print one as JSON: reason, attempts, position, subject, headers, body
    Show {
        /// Its number in the list
        number: u64,
    },
    /// Send them to the log again, in order; each is removed when it is accepted
    #[command(group = clap::ArgGroup::new("which").required(true).args(["number", "all"]))]
    Replay {
        /// Its number in the list
        number: Option<u64>,
        /// All of them
        #[arg(long)]
        all: bool,
        /// Send this file instead of the body that was refused
        #[arg(long, value_name = "FILE", requires = "number", conflicts_with = "all")]
        body: Option<PathBuf>,
        /// Also send letters that replace or remove rows, which may have been written since
        #[arg(long)]
        overwrite: bool,
    },
    /// Make a dead letter of the event at this position of the log, at which ingest stands still
    Bury {
        /// Its position, as the error in the log of the ingester names it
        sequence: u64,
    },
}

/// `ulex events replay`.
#[derive(Args, Clone, Debug)]
pub struct ReplayArguments {
    /// Where to begin: start, seq:N or time:RFC3339
    #[arg(long, value_name = "PLACE")]
    pub from: LogFrom,
    /// Where to stop, itself included: seq:N or time:RFC3339 [default: where the log ends now]
    #[arg(long, value_name = "PLACE")]
    pub to: Option<LogFrom>,
    /// Data store to fill [default: the one that the configuration names]
    #[arg(long, value_name = "URL")]
    pub into: Option<String>,
    /// Directory of the database, where the configuration names none
    #[command(flatten)]
    pub place: DataDirectory,
}

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFrom {
    /// What is appended from now on.
    New,
    /// The oldest message there is.
    Start,
    /// A position.
    Sequence(u64),
    /// A time of appending.
    Time(Timestamp),
}

impl FromStr for LogFrom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "new" => Ok(Self::New),
            None if text == "start" => Ok(Self::Start),
            Some(("seq", number)) => number
                .parse()
                .map(Self::Sequence)
                .map_err(|_reason| format!("expected a number behind seq:, got {number:?}")),
            Some(("time", time)) => {
                Timestamp::parse_rfc3339(time).map(Self::Time).map_err(|reason| reason.to_string())
            }
            Some(_) | None => Err("expected start, seq:N or time:2026-01-31T12:00:00Z".to_owned()),
        }
    }
}

/// `ulex data`.
#[derive(Args, Debug)]
#[command(arg_required_else_help = true)]
pub struct DataArguments {
    /// What to do.
    #[command(subcommand)]
    pub action: DataAction,
}

/// What can be done with the data as a whole.
#[derive(Debug, Subcommand)]
pub enum DataAction {
    /// Print a digest of all rows: two stores with the same rows have the same, whatever they are
    #[command(after_help = "\
Reads everything, in order of the ids, with a bounded amount of memory. Rows that are written meanwhile may or may not
count.

Examples:
  ulex data checksum -c ulex.toml
  ulex data checksum --store postgres://ulex@db/copy")]
    Checksum {
        /// Configuration file that names the data store
        #[arg(short = 'c', long = "config", value_name = "FILE")]
        config: Option<PathBuf>,
        /// Data store, instead of the one that the configuration names
        #[arg(long, value_name = "URL")]
        store: Option<String>,
        /// Where the database is.
        #[command(flatten)]
        place: DataDirectory,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_log_is_a_word_a_number_or_a_time() {
        assert_eq!("start".parse(), Ok(LogFrom::Start));
        assert_eq!("seq:17".parse(), Ok(LogFrom::Sequence(17)));
        let time = Timestamp::parse_rfc3339("2026-01-31T12:00:00Z").unwrap();
        assert_eq!("time:2026-01-31T12:00:00Z".parse(), Ok(LogFrom::Time(time)));
        for wrong in ["", "17", "seq:x", "time:yesterday", "seq"] {
            assert!(wrong.parse::<LogFrom>().is_err(), "{wrong}");
        }
    }
}
