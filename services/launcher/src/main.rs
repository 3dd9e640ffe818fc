//! The program `ulex`: reads the command line and runs one command.

use std::process::ExitCode;

use clap::Parser;
use ulex_launcher::command_line::{Action, CommandLine};
use ulex_launcher::telemetry;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let command = CommandLine::parse();
    if let Err(error) = telemetry::start() {
        eprintln!("ulex: {error}");
        return ExitCode::from(2);
    }
    match command.action {
        Action::One(arguments) => ulex_launcher::one::run(&arguments),
        Action::Demo(_)
        | Action::Import(_)
        | Action::Evaluate(_)
        | Action::Models(_)
        | Action::CheckConfig(_) => {
            eprintln!("ulex: this command is not wired yet");
            ExitCode::from(2)
        }
    }
}
