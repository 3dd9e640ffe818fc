//! The program `ulex`: reads the command line and runs one command.

use std::process::ExitCode;

use clap::Parser;
use ulex_launcher::command_line::{Action, CommandLine};
use ulex_launcher::{checksum, configuration, demo, evaluate, events, import, models, one, role};
use ulex_nats::membership::Role;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match CommandLine::parse().action {
        Action::One(arguments) => one::run(&arguments),
        Action::Master(arguments) => role::run(Role::Master, &arguments),
        Action::Worker(arguments) => role::run(Role::Worker, &arguments),
        Action::Server(arguments) => role::run(Role::Server, &arguments),
        Action::Demo(arguments) => demo::performance::run(&arguments),
        Action::Import(arguments) => import::command::import(&arguments),
        Action::Evaluate(arguments) => evaluate::run::run(&arguments),
        Action::Models(arguments) => models::run(&arguments),
        Action::Events(arguments) => events::run(&arguments),
        Action::Data(arguments) => checksum::run(&arguments),
        Action::CheckConfig(arguments) => configuration::check(&arguments.file),
    }
}
