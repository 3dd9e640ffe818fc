//! `ulex-sim SECONDS [FIRST_SEED]`: runs seeds for so long; exit status 1 if one breaks an invariant.

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let Some(Ok(seconds)) = arguments.next() else {
        return ExitCode::from(2);
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let first_seed = match arguments.next() {
        Some(Ok(seed)) => seed,
        Some(Err(_)) => return ExitCode::from(2),
        None => now << 20,
    };
    if std::env::var_os("ULEX_SIM_TRACE").is_some() {
        let lines = tracing_subscriber::fmt().with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG);
        lines.without_time().with_writer(std::io::stderr).init();
    }
    let within = Duration::from_secs(seconds);
    match ulex_sim::search(first_seed, u64::MAX, within, &mut std::io::stdout()) {
        Ok(summary) if summary.failed_seeds.is_empty() => ExitCode::SUCCESS,
        Ok(_) | Err(_) => ExitCode::FAILURE,
    }
}
