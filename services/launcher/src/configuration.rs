//! Reading the configuration, for every command, and `ulex check-config`.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use tracing::warn;
use ulex_nats::membership::Role;
use ulex_settings::{Loaded, LogLevel, RankerType, RecommenderName, Sampler, Settings, load};

use crate::exit::{print, refused};
use crate::telemetry;

/// Reads the configuration and starts logging as it says. Names what is odd about it, and says everything that is
/// wrong with it.
///
/// # Errors
///
/// The status to end with; what is wrong has been said.
pub fn read(file: Option<&Path>, voice: Voice) -> Result<Settings, ExitCode> {
    let Loaded { settings, warnings } =
        load(file, std::env::vars(), &[]).map_err(|problems| refused(&problems))?;
    start_logging(&settings, voice)?;
    for warning in warnings {
        warn!("{warning}");
    }
    if !settings.not_yet.is_empty() {
        warn!(keys = settings.not_yet.join(", "), "these settings are not in effect yet");
    }
    if let (Voice::Service(_), true) = (voice, settings.tracing.enable)
        && let Err(reason) = telemetry::collector(&settings.tracing)
    {
        warn!("tracing is not in effect: {reason}");
    }
    Ok(settings)
}

/// How talkative a command is, unless the environment says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// As configured: the log of a service, and its traces.
    Service(Role),
    /// Warnings only: a command that has its own output.
    Command,
}

/// Starts logging as configured.
///
/// # Errors
///
/// The status to end with; what is wrong has been said.
pub fn start_logging(settings: &Settings, voice: Voice) -> Result<(), ExitCode> {
    let (level, traces) = match voice {
        Voice::Service(role) => (settings.log.level, Some((&settings.tracing, role))),
        Voice::Command => (LogLevel::Warn, None),
    };
    telemetry::start(level, settings.log.format, traces).map_err(|error| refused(&error))
}

/// `ulex check-config`: what is wrong, or what will run.
pub fn check(file: &Path) -> ExitCode {
    match load(Some(file), std::env::vars(), &[]) {
        Ok(loaded) => {
            print(&summary(file, &loaded));
            ExitCode::SUCCESS
        }
        Err(problems) => refused(&problems),
    }
}

/// What will run, for people.
fn summary(file: &Path, Loaded { settings, warnings }: &Loaded) -> String {
    let mut text = format!("{} can be used\n\n", file.display());
    let mut line = |name: &str, value: &str| writeln!(text, "{name:<15}{value}").expect("a string can grow");
    let data = settings.database.data_store.as_ref();
    line(
        "data store",
        &data.map_or_else(|| "data.sqlite in the data directory".to_owned(), ToString::to_string),
    );
    line("cache store", &settings.database.cache_store.to_string());
    line("REST", &format!("http://{}:{}", settings.master.http_host, settings.master.http_port));
    line("feedback", &feedback(settings));
    line("sources", &sources(settings));
    line("ranker", &ranker(settings));
    line("fallback", &names(&settings.recommend.fallback_recommenders));
    line("training", &training(settings));
    line("traces", &traces(settings));
    if !settings.not_yet.is_empty() {
        line(
            "not in effect",
            &format!("{} (accepted, the feature comes later)", settings.not_yet.join(", ")),
        );
    }
    for warning in warnings {
        line("note", warning);
    }
    text
}

fn feedback(settings: &Settings) -> String {
    let source = &settings.recommend.data_source;
    let kinds = [
        ("positive", &source.positive_feedback_types),
        ("negative", &source.negative_feedback_types),
        ("read", &source.read_feedback_types),
    ];
    let given = kinds.iter().filter(|(_, filters)| !filters.is_empty()).map(|(kind, filters)| {
        let filters: Vec<String> = filters.iter().map(ToString::to_string).collect();
        format!("{kind}: {}", filters.join(" "))
    });
    let given: Vec<String> = given.collect();
    if given.is_empty() { "every type is positive".to_owned() } else { given.join("; ") }
}

fn sources(settings: &Settings) -> String {
    names(&settings.recommend.sources())
}

fn ranker(settings: &Settings) -> String {
    let ranker = &settings.recommend.ranker;
    match ranker.kind {
        RankerType::None => format!("none, lists come from {}", names(&ranker.recommenders)),
        RankerType::FactorizationMachine => format!("fm over {}", names(&ranker.recommenders)),
        RankerType::LanguageModel => format!("llm over {}", names(&ranker.recommenders)),
    }
}

fn names(recommenders: &[RecommenderName]) -> String {
    let names: Vec<String> = recommenders.iter().map(ToString::to_string).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn training(settings: &Settings) -> String {
    let period = settings.recommend.collaborative.fit_period.min(settings.recommend.ranker.fit_period);
    let (threads, growth) = (settings.master.n_jobs, settings.training.growth * 100.0);
    format!("on {threads} threads, every {} s or when the data has grown by {growth} %", period.as_secs())
}

fn traces(settings: &Settings) -> String {
    let tracing = &settings.tracing;
    if !tracing.enable {
        return "off".to_owned();
    }
    let share = match tracing.sampler {
        Sampler::Always => "all requests".to_owned(),
        Sampler::Never => "no request".to_owned(),
        Sampler::Ratio => format!("{} % of the requests", tracing.ratio * 100.0),
    };
    match telemetry::collector(tracing) {
        Ok(collector) => format!("{share}, to {collector}"),
        Err(reason) => reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gorse.toml");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    fn loaded(path: &Path) -> Result<Loaded, ulex_settings::LoadError> {
        load(Some(path), [], &[])
    }

    #[test]
    fn a_file_that_can_be_used_says_what_will_run() {
        let toml = "[database]\ndata_store = \"mysql://ann:secret@db/shop\"\n[master]\nhttp_port = 9000\n\
                    [recommend.data_source]\npositive_feedback_types = [\"rating>=4\"]\n\
                    [[recommend.item-to-item]]\nname = \"similar\"\ntype = \"users\"\n";
        let (_folder, path) = file(toml);
        let text = summary(&path, &loaded(&path).unwrap());
        for expected in
            [":9000", "positive: rating>=4", "item-to-item/similar", "fm over", "database.data_store"]
        {
            assert!(text.contains(expected), "{expected} is missing in:\n{text}");
        }
        assert!(!text.contains("secret"), "{text}");
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        let (_folder, path) = file("[master]\nhttp_port = 99999\nn_jobs = \"many\"\n");
        let text = loaded(&path).unwrap_err().to_string();
        assert!(text.contains("http_port") && text.contains("n_jobs"), "{text}");
    }

    #[test]
    fn a_file_that_does_not_exist_is_refused_by_every_command() {
        let (folder, _path) = file("");
        let missing = folder.path().join("none.toml");
        assert!(read(Some(&missing), Voice::Command).is_err());
        assert_eq!(format!("{:?}", check(&missing)), format!("{:?}", ExitCode::from(crate::exit::USAGE)));
    }
}
