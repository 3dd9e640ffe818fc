//! `ulex import`: from the command line to a target, and back to an exit status.

use std::process::ExitCode;
use std::sync::Arc;

use thiserror::Error;

use super::progress::Progress;
use super::target::{ImportTarget, RestTarget, StoreTarget};
use super::{ImportError, Options, Summary, run};
use crate::command_line::ImportArguments;
use crate::configuration::{self, Voice};
use crate::exit::{self, print};
use crate::http_client::HttpError;
use crate::parts::{DirectoryLock, StartError, open_data};

/// Why nothing, or not everything, was imported.
#[derive(Debug, Error)]
enum CommandError {
    #[error("{0}")]
    Start(#[from] StartError),
    #[error("{0}")]
    Address(#[from] HttpError),
    #[error("{0}")]
    Import(#[from] ImportError),
}

/// Runs the command.
pub fn import(arguments: &ImportArguments) -> ExitCode {
    let settings = match configuration::read(arguments.config.as_deref(), Voice::Command) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let mut options = Options::from(arguments);
    options.insert_users = settings.server.auto_insert_user;
    options.insert_items = settings.server.auto_insert_item;
    let work = async {
        if let Some(url) = &arguments.url {
            let target = Arc::new(RestTarget::new(url, arguments.api_key.clone())?);
            return finish(&options, target).await;
        }
        // Held until the last row is stored: a server that starts meanwhile would not see all of them.
        let _lock = DirectoryLock::take(&arguments.place.data_dir)?;
        let store = open_data(&settings, &arguments.place.data_dir).await?;
        finish(&options, Arc::new(StoreTarget::new(store))).await
    };
    match exit::block_on(work) {
        Ok(summary) => report(&options, &summary),
        Err(error) => exit::failed(&error),
    }
}

async fn finish(options: &Options, target: Arc<dyn ImportTarget>) -> Result<Summary, CommandError> {
    Ok(run(options, target, &Progress::on_terminal()).await?)
}

fn report(options: &Options, summary: &Summary) -> ExitCode {
    print(&format!("{summary}\n"));
    if !(options.insert_users && options.insert_items) {
        print("feedback of unknown users or items was left out where the configuration says so\n");
    }
    let nothing = summary.rows() + summary.skipped == 0;
    if nothing { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
