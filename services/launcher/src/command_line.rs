//! The command line: what can be asked of `ulex`, with the words `--help` prints.
//!
//! Only syntax is decided here. Whether a file exists or a number makes sense is found out by whoever uses it, so
//! that the message can say what was expected.

mod events;

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use self::events::{
    DataAction, DataArguments, DeadAction, EventsAction, EventsArguments, LogFrom, LogPlace, ReplayArguments,
};

/// What `--version` prints: the number, or what the build calls itself (`ULEX_VERSION`).
pub const VERSION: &str = match option_env!("ULEX_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

const EXAMPLES: &str = "\
Examples:
  ulex demo                                     see it work: a synthetic shop, trained and served
  ulex import --format recbole ./ml-100k        put a data set into ./ulex-data
  ulex one                                      serve it on http://127.0.0.1:8088
  ulex one -c gorse.toml --data-dir /srv/ulex   the same with a configuration file, Gorse's are accepted
  curl 'http://127.0.0.1:8088/api/recommend/1?n=5'
  ulex evaluate --split temporal --model als --at 10

Environment:
  ULEX_LOG=debug                 what is logged, for example `info,ulex_master=debug` (default: info)
  ULEX_SECTION_KEY, GORSE_...    override a key of the configuration file, for example ULEX_MASTER_HTTP_PORT

Results go to standard output, everything else to standard error: readable lines on a terminal, JSON otherwise.";

/// A recommender service: puts users, items and feedback in, gets "what should this user see next?" out.
#[derive(Debug, Parser)]
#[command(name = "ulex", version = VERSION, about, after_help = EXAMPLES, max_term_width = 110, arg_required_else_help = true)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// One command.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Run everything in one process: store, training and REST, with nothing else installed
    One(OneArguments),
    /// Run a master of a cluster: the leading one trains, the others stand by
    Master(RoleArguments),
    /// Run a worker of a cluster: computes lists before they are asked for
    Worker(RoleArguments),
    /// Run a server of a cluster: answers REST and applies what is written
    Server(RoleArguments),
    /// Load a synthetic shop, train on it, serve it and show what it recommends
    Demo(DemoArguments),
    /// Read a data set from files into a data directory or a running server
    Import(ImportArguments),
    /// Train a model on one part of the data and measure it on the rest
    Evaluate(EvaluateArguments),
    /// List trained models, look at one, or go back to an earlier one
    Models(ModelsArguments),
    /// Look at the log of events: follow it, replay it, deal with what could not be applied
    Events(EventsArguments),
    /// Look at the data store as a whole
    Data(DataArguments),
    /// Read a configuration file and report everything that is wrong with it
    CheckConfig(CheckConfigArguments),
}

/// Where the data of a single-machine installation lives.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct DataDirectory {
    /// Directory of the database and the trained models; created if it is missing
    #[arg(long = "data-dir", value_name = "DIR", default_value = "./ulex-data")]
    pub data_dir: PathBuf,
}

/// `ulex one`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ulex one
  ulex one -c gorse.toml --data-dir /srv/ulex
  ULEX_MASTER_HTTP_PORT=9000 ulex one

Stop it with Ctrl-C or SIGTERM: it answers what it has accepted, then leaves. A second signal ends it at once.
Nothing that was acknowledged is lost either way.")]
pub struct OneArguments {
    /// Configuration file; without one the defaults apply
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where to keep the data.
    #[command(flatten)]
    pub place: DataDirectory,
}

/// `ulex master`, `ulex worker`, `ulex server`.
#[derive(Args, Debug)]
#[command(after_help = "\
The processes of a cluster share a configuration that names NATS with JetStream ([nats] urls), a data store and a cache
that all of them reach ([database] data_store and cache_store, such as postgres:// and redis://).

Examples:
  ulex master -c cluster.toml                          REST and training on the port of [master], default 8088
  ulex server -c cluster.toml --http 0.0.0.0:8087      as many as you like
  ulex worker -c cluster.toml --http 127.0.0.1:8089    as many as you like; answers /api/health/ready only

SIGTERM: it answers what it has accepted, then leaves. A second signal ends it at once.")]
pub struct RoleArguments {
    /// Configuration file
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where to listen
    #[arg(long, value_name = "HOST:PORT")]
    pub http: Option<String>,
}

/// `ulex demo`.
#[derive(Args, Debug)]
#[command(after_help = "\
The shop, its people and what they bought are made up by a program, the same on every machine for the same seed.
It is loaded into a directory that is removed afterwards unless --keep or --data-dir is given.

On a terminal the shop goes on being served until Ctrl-C, so that you can try things; with its output in a file or
a pipe the program leaves after the story, with status 0 if all of it could be told.")]
pub struct DemoArguments {
    /// Port of the REST API [default: 8088, or a free one if that is taken]
    #[arg(long)]
    pub port: Option<u16>,
    /// Where to keep the shop, instead of a temporary directory
    #[arg(long = "data-dir", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Go on serving after the story is told, wherever the output goes, and keep the data
    #[arg(long)]
    pub keep: bool,
    /// Leave after the story is told, also on a terminal
    #[arg(long, conflicts_with = "keep")]
    pub once: bool,
    /// Another shop
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// `ulex import`.
#[derive(Args, Debug)]
#[command(after_help = "\
Formats:
  movielens       folder with ratings.csv and, if there, movies.csv and tags.csv;
                  or ratings.dat, movies.dat, users.dat; or u.data, u.item, u.user
  recbole         folder with atomic files: NAME.inter, NAME.item, NAME.user; a typed header, tabs
  movietweetings  folder with ratings.dat and, if there, movies.dat, users.dat; fields separated by ::
  csv             a file with a header that names user, item and, if there, type, value and timestamp
  jsonl           files of Gorse's bulk export: one User, Item or Feedback a line

Any file may be gzipped. A line that cannot be used is reported with its number and the reason and left out.
Importing the same files twice changes nothing, unless --accumulate is given.

The status is 0 if all files were read, also if single lines were rejected; 1 if the import ended early or nothing
could be used; 2 if the command or the configuration makes no sense.

Examples:
  ulex import --format movielens ./ml-latest-small
  ulex import --format csv clicks.csv.gz --type click --user-column visitor --item-column sku --accumulate
  ulex import --format jsonl ./export --url http://127.0.0.1:8088")]
pub struct ImportArguments {
    /// How to read PATH
    #[arg(long, value_enum)]
    pub format: ImportFormat,
    /// File or folder to read
    pub path: PathBuf,
    /// Where to keep the data, and what is needed to resume.
    #[command(flatten)]
    pub place: DataDirectory,
    /// Configuration file: names the data store, and says whether feedback may create users and items
    #[arg(short = 'c', long = "config", value_name = "FILE", conflicts_with = "url")]
    pub config: Option<PathBuf>,
    /// Send the rows to a running server instead of writing into the data directory
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Sent with --url as X-API-Key
    #[arg(long = "api-key", value_name = "KEY", requires = "url")]
    pub api_key: Option<String>,
    /// Feedback type of rows that do not name one
    #[arg(long = "type", value_name = "TYPE", default_value = "rating")]
    pub feedback_type: String,
    /// Add values to feedback that is already there instead of replacing it
    #[arg(long)]
    pub accumulate: bool,
    /// Go on where an interrupted import of the same files stopped
    #[arg(long)]
    pub resume: bool,
    /// Write every rejected line to FILE, not only the first twenty to the terminal
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
    /// What the columns of a csv file are called.
    #[command(flatten)]
    pub columns: ColumnArguments,
}

/// Names of columns, for `ulex import --format csv`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnArguments {
    /// csv: column of the user's id, if it has an unusual name
    #[arg(id = "user-column", long, value_name = "NAME")]
    pub user: Option<String>,
    /// csv: column of the item's id
    #[arg(id = "item-column", long, value_name = "NAME")]
    pub item: Option<String>,
    /// csv: column of the feedback type
    #[arg(id = "type-column", long, value_name = "NAME")]
    pub feedback_type: Option<String>,
    /// csv: column of the value
    #[arg(id = "value-column", long, value_name = "NAME")]
    pub value: Option<String>,
    /// csv: column of the time, as a date or in seconds or milliseconds since 1970
    #[arg(id = "timestamp-column", long, value_name = "NAME")]
    pub timestamp: Option<String>,
}

/// What `ulex import` can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ImportFormat {
    /// The folders of `MovieLens`.
    #[value(name = "movielens")]
    MovieLens,
    /// Atomic files.
    #[value(name = "recbole")]
    RecBole,
    /// Fields separated by two colons.
    #[value(name = "movietweetings")]
    MovieTweetings,
    /// Any table of feedback with a header.
    Csv,
    /// One JSON object a line, as Gorse exports them.
    Jsonl,
}

/// `ulex evaluate`.
#[derive(Args, Debug)]
#[command(after_help = "\
Splits:
  DIR             a folder with train and test files: user<TAB>item a line, or libfm lines for the ranker
  temporal        imported data: everything after one moment is the test
  leave-last-out  imported data: the last item of each user is the test
  random          imported data: a fifth of each user's items, drawn with --seed

Items a user has in the training part are never ranked; all others are, without sampling, unless the folder
brings its own negatives.

Examples:
  ulex evaluate --split ./splits/ml100k-80-20 --model als --at 10
  ulex evaluate --split temporal --model pipeline --at 20 --json
  ulex evaluate --split ./splits/ml100k-80-20 --model pipeline --set recommend.cache_size=200
  ulex evaluate --split ./splits/gowalla --model als --set factors=64 --set regularization=0.01")]
pub struct EvaluateArguments {
    /// How to divide the data: DIR, temporal, leave-last-out or random
    #[arg(long, value_name = "SPLIT")]
    pub split: SplitChoice,
    /// What to measure
    #[arg(long, value_enum)]
    pub model: ModelChoice,
    /// Length of the lists that are scored; several are allowed: --at 10,20
    #[arg(long, value_name = "K", default_value = "10", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub at: Vec<u32>,
    /// Print one flat JSON object instead of a table
    #[arg(long)]
    pub json: bool,
    /// Data to divide, unless the split is a folder.
    #[command(flatten)]
    pub place: DataDirectory,
    /// Configuration file: names the data store, says which feedback is positive, and what the pipeline is made of
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Seed of the split and of the fit
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// A parameter of the model; for the pipeline a setting of the configuration
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = assignment)]
    pub parameters: Vec<(String, String)>,
}

/// How data is divided into training and test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SplitChoice {
    /// Files say what is what.
    Folder(PathBuf),
    /// By one moment for all users.
    Temporal,
    /// The last item of each user.
    LeaveLastOut,
    /// A fifth of each user's items.
    Random,
}

impl FromStr for SplitChoice {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "temporal" => Self::Temporal,
            "leave-last-out" => Self::LeaveLastOut,
            "random" => Self::Random,
            folder => Self::Folder(PathBuf::from(folder)),
        })
    }
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModelChoice {
    /// The same list for everybody.
    Popular,
    /// Items like those the user has.
    ItemKnn,
    /// Items of users like the user.
    UserKnn,
    /// Matrix factorisation by Bayesian personalised ranking.
    Bpr,
    /// Matrix factorisation by implicit alternating least squares.
    Als,
    /// Embarrassingly shallow autoencoder.
    Ease,
    /// Factorisation machine: the probability of a click.
    Fm,
    /// Everything together, as it is served.
    Pipeline,
}

impl ModelChoice {
    /// The name, as it is written on the command line and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Popular => "popular",
            Self::ItemKnn => "item-knn",
            Self::UserKnn => "user-knn",
            Self::Bpr => "bpr",
            Self::Als => "als",
            Self::Ease => "ease",
            Self::Fm => "fm",
            Self::Pipeline => "pipeline",
        }
    }
}

/// `ulex models`.
#[derive(Args, Debug)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Works on a data directory that no server has open: stop the server first, start it again afterwards.

Examples:
  ulex models list
  ulex models rollback                          serve the one before the live one
  ulex models rollback 0198c2 --data-dir /srv/ulex

After a rollback the next start serves that model until the next training cycle has a better one."
)]
pub struct ModelsArguments {
    /// What to do with them.
    #[command(subcommand)]
    pub action: ModelsAction,
    /// Where the models are kept
    #[arg(long = "data-dir", value_name = "DIR", default_value = "./ulex-data", global = true)]
    pub data_dir: PathBuf,
    /// Configuration of a cluster: its models are on the NATS servers that it names
    #[arg(short = 'c', long = "config", value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
}

/// What can be done with trained models.
#[derive(Debug, Subcommand)]
pub enum ModelsAction {
    /// Print the models that are kept, newest first, and which one is live
    List {
        /// Print an array of JSON objects instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Print what a model is made of and how it was judged
    Show {
        /// Id, or a beginning of it that only one model has
        id: String,
    },
    /// Serve an earlier model from now on: the one before the live one, or ID
    Rollback {
        /// Id, or a beginning of it that only one model has
        id: Option<String>,
    },
}

/// `ulex check-config`.
#[derive(Args, Debug)]
pub struct CheckConfigArguments {
    /// Configuration file
    pub file: PathBuf,
}

/// Reads `key=value`.
fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        Some(_) | None => Err(format!("expected KEY=VALUE, got {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Action, String> {
        let words = std::iter::once("ulex").chain(line.split_whitespace());
        CommandLine::try_parse_from(words).map(|parsed| parsed.action).map_err(|error| error.to_string())
    }

    #[test]
    fn the_definition_is_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn one_needs_nothing_and_keeps_its_data_in_the_current_directory() {
        let Ok(Action::One(one)) = parse("one") else { panic!("not understood") };
        assert_eq!(one.config, None);
        assert_eq!(one.place.data_dir, PathBuf::from("./ulex-data"));
    }

    #[test]
    fn import_reads_formats_and_columns() {
        let line = "import --format csv clicks.csv --type click --user-column visitor --data-dir d --resume";
        let Ok(Action::Import(import)) = parse(line) else { panic!("not understood") };
        assert_eq!(import.format, ImportFormat::Csv);
        assert_eq!(import.columns.user.as_deref(), Some("visitor"));
        assert_eq!(import.feedback_type, "click");
        assert!(import.resume && !import.accumulate);
        assert!(parse("import --format tape clicks").is_err_and(|error| error.contains("movietweetings")));
    }

    #[test]
    fn evaluate_tells_folders_from_the_ways_to_split_stored_data() {
        let line = "evaluate --split splits/gowalla --model item-knn --at 10,20 --set factors=64 --set l=0.1";
        let Ok(Action::Evaluate(evaluate)) = parse(line) else { panic!("not understood") };
        assert_eq!(evaluate.split, SplitChoice::Folder(PathBuf::from("splits/gowalla")));
        assert_eq!(evaluate.model, ModelChoice::ItemKnn);
        assert_eq!(evaluate.at, [10, 20]);
        assert_eq!(evaluate.parameters[0], ("factors".to_owned(), "64".to_owned()));
        let Ok(Action::Evaluate(evaluate)) = parse("evaluate --split leave-last-out --model als") else {
            panic!("not understood")
        };
        assert_eq!(evaluate.split, SplitChoice::LeaveLastOut);
        assert!(parse("evaluate --split random --model als --at 0").is_err());
        assert!(parse("evaluate --split random --model als --set factors").is_err());
    }

    #[test]
    fn models_takes_its_place_after_the_verb() {
        let Ok(Action::Models(models)) = parse("models rollback 3f --data-dir d") else {
            panic!("not understood")
        };
        assert_eq!(models.data_dir, PathBuf::from("d"));
        assert!(matches!(models.action, ModelsAction::Rollback { id: Some(id) } if id == "3f"));
    }

    #[test]
    fn every_model_has_the_name_it_is_asked_for_by() {
        for model in ModelChoice::value_variants() {
            let value = model.to_possible_value().expect("none is hidden");
            assert_eq!(value.get_name(), model.name());
        }
    }
}
