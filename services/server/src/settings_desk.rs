//! Where settings are shown and changed while the service runs.
//!
//! A change is checked as a file would be, written to the bucket `config` by compare-and-set, and in force in this process
//! when the call returns; the other processes follow as they hear of it, well within a second.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;
use ulex_actors::InForce;
use ulex_domain::Timestamp;
use ulex_nats::bus::{Bucket, Stored};
use ulex_nats::overrides::{self, Overrides};
use ulex_nats::topology::CONFIG;
use ulex_nats::{Bus, BusError};
use ulex_settings::{Settings, SettingsError, changed, describe, masked, overlay, whole_section};

use crate::backend::BackendError;

/// How long a change may take until this very process goes by it. It is stored even if it takes longer.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(2);

/// What is to become of the settings.
#[derive(Clone, Debug)]
pub enum SettingsChange {
    /// Exactly this section `recommend`, whatever the files say.
    Replace(Value),
    /// These keys, by their full names; `null` gives one back to the files.
    Patch(ulex_settings::Overrides),
    /// Nothing but what the files say.
    Clear,
    /// What was overridden at this revision.
    Restore(u64),
}

/// One entry of the history.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct SettingsRevision {
    /// Counts the changes; later ones have higher numbers.
    pub revision: u64,
    /// When it was made.
    pub time: Timestamp,
    /// The revision it went back to, if it did.
    pub restored: Option<u64>,
    /// What it laid over the files, by the full names of the settings; secrets are masked.
    #[schema(value_type = Object)]
    pub values: ulex_settings::Overrides,
}

/// See the module documentation.
pub struct SettingsDesk {
    bucket: Bucket<Overrides>,
    base: Arc<Settings>,
    in_force: watch::Receiver<InForce>,
    data_dir: PathBuf,
}

/// Why a change was not made.
enum Refusal {
    Settings(SettingsError),
    NoRevision(u64),
    Bus(BusError),
}

impl From<BusError> for Refusal {
    fn from(reason: BusError) -> Self {
        Self::Bus(reason)
    }
}

impl From<SettingsError> for Refusal {
    fn from(reason: SettingsError) -> Self {
        Self::Settings(reason)
    }
}

impl From<Refusal> for BackendError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Settings(reason) => Self::Unfit(reason.to_string()),
            Refusal::NoRevision(revision) => {
                Self::NotFound(format!("revision {revision} is not in the history"))
            }
            Refusal::Bus(reason) => reason.into(),
        }
    }
}

impl SettingsDesk {
    /// Opens the bucket. `base` is what this process was started with, `data_dir` where stores are that no setting places
    /// elsewhere.
    ///
    /// # Errors
    ///
    /// Whatever the bus reports.
    pub async fn open(
        bus: &Bus,
        base: Arc<Settings>,
        in_force: watch::Receiver<InForce>,
        data_dir: PathBuf,
    ) -> Result<Self, BusError> {
        Ok(Self { bucket: bus.bucket(&CONFIG).await?, base, in_force, data_dir })
    }

    /// Everything that is in force in this process, secrets masked.
    #[must_use]
    pub fn shown(&self) -> Value {
        let settings = Arc::clone(&self.in_force.borrow().settings);
        let mut shown = describe(&settings, &self.data_dir);
        if settings.master.dashboard_redacted
            && let Value::Object(sections) = &mut shown
        {
            sections.remove("database");
        }
        shown
    }

    /// Makes a change, and returns when it is in force here.
    ///
    /// # Errors
    ///
    /// [`BackendError::Unfit`] with everything that is wrong with it, [`BackendError::NotFound`] for a revision that is not
    /// there any more; nothing has changed then. [`BackendError::Unavailable`] if the bus is away.
    pub async fn change(&self, change: SettingsChange) -> Result<(), BackendError> {
        let (mut restored, mut earlier) = (None, ulex_settings::Overrides::new());
        if let SettingsChange::Restore(revision) = change {
            (restored, earlier) = (Some(revision), self.at(revision).await?);
        }
        let now = Arc::clone(&self.in_force.borrow().settings);
        let edit = |before: &Overrides| -> Result<Overrides, Refusal> {
            let values = match &change {
                SettingsChange::Replace(section) => whole_section(&now, section.clone())?,
                SettingsChange::Patch(changes) => changed(&before.values, changes),
                SettingsChange::Clear => ulex_settings::Overrides::new(),
                SettingsChange::Restore(_) => earlier.clone(),
            };
            overlay(&self.base, &values)?;
            Ok(Overrides { values, at: Timestamp::now(), restored })
        };
        let stored = overrides::change(&self.bucket, edit).await.map_err(BackendError::from)?;
        let mut in_force = self.in_force.clone();
        let followed = in_force.wait_for(|now| now.revision >= stored.revision);
        // A process whose follower is away says so in its log; the change itself is made.
        let _ = tokio::time::timeout(IN_FORCE_WITHIN, followed).await;
        Ok(())
    }

    async fn at(&self, revision: u64) -> Result<ulex_settings::Overrides, BackendError> {
        let found = overrides::history(&self.bucket).await?;
        let found = found.into_iter().find(|stored| stored.revision == revision);
        Ok(found.ok_or(Refusal::NoRevision(revision))?.value.values)
    }

    /// Every change that is remembered, the latest first.
    ///
    /// # Errors
    ///
    /// [`BackendError::Unavailable`] if the bus is away.
    pub async fn history(&self) -> Result<Vec<SettingsRevision>, BackendError> {
        let entry = |stored: Stored<Overrides>| SettingsRevision {
            revision: stored.revision,
            time: stored.value.at,
            restored: stored.value.restored,
            values: masked(&stored.value.values),
        };
        Ok(overrides::history(&self.bucket).await?.into_iter().rev().map(entry).collect())
    }
}

#[cfg(test)]
mod tests;
