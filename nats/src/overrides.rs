//! Settings that were changed while the cluster ran.
//!
//! | what | bucket | from | to | delivery |
//! |---|---|---|---|---|
//! | [`Overrides`] | `config`, key [`RECOMMEND_KEY`] | whoever is told over REST | every process | newest; history of 64 kept |
//!
//! A change is made from what was there before by compare-and-set, so of two that come at once none is lost. Taking all
//! of them back is a change too: it stays in the history.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use ulex_domain::Timestamp;

use crate::BusError;
use crate::bus::{Bucket, Stored};

/// Key of the [`Overrides`] of the section `recommend`.
pub const RECOMMEND_KEY: &str = "recommend";

/// How often [`change`] begins again because somebody else was faster.
const TRIES: usize = 32;

/// Everything that differs from the files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Overrides {
    /// Dotted keys and their values, as a file would have them. Empty: the files are in force.
    pub values: BTreeMap<String, Value>,
    /// When.
    pub at: Timestamp,
    /// The revision whose values these are, if somebody went back to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<u64>,
}

/// What is overridden at present; revision 0 if nothing ever was.
///
/// # Errors
///
/// [`BusError::Malformed`] if it cannot be read.
pub async fn present(bucket: &Bucket<Overrides>) -> Result<Stored<Overrides>, BusError> {
    let none = || Stored { key: RECOMMEND_KEY.to_owned(), value: Overrides::default(), revision: 0 };
    Ok(bucket.get(RECOMMEND_KEY).await?.unwrap_or_else(none))
}

/// Replaces what is overridden by what `edit` makes of it. `edit` may be asked several times.
///
/// # Errors
///
/// Whatever `edit` says; then nothing has changed. [`BusError::Conflict`] if others were faster again and again.
pub async fn change<E: From<BusError>>(
    bucket: &Bucket<Overrides>,
    edit: impl Fn(&Overrides) -> Result<Overrides, E>,
) -> Result<Stored<Overrides>, E> {
    let mut tries = 1;
    loop {
        let before = present(bucket).await?;
        let value = edit(&before.value)?;
        let written = match before.revision {
            0 => bucket.create(RECOMMEND_KEY, &value).await,
            revision => bucket.update(RECOMMEND_KEY, &value, revision).await,
        };
        match written {
            Err(BusError::Conflict { .. }) if tries < TRIES => tries += 1,
            Err(reason) => return Err(reason.into()),
            Ok(revision) => return Ok(Stored { value, revision, ..before }),
        }
    }
}

/// What was overridden earlier, oldest first, the present last.
///
/// # Errors
///
/// [`BusError::Transport`] if the bus cannot be reached.
pub async fn history(bucket: &Bucket<Overrides>) -> Result<Vec<Stored<Overrides>>, BusError> {
    bucket.history(RECOMMEND_KEY).await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use ulex_domain::TenantId;

    use super::*;
    use crate::topology::CONFIG;
    use crate::{Bus, InProcess};

    async fn bucket() -> Bucket<Overrides> {
        let bus = Bus::new(Arc::new(InProcess::open(None).unwrap()), TenantId::default());
        bus.bucket(&CONFIG).await.unwrap()
    }

    fn with(before: &Overrides, key: &str, value: u64) -> Result<Overrides, BusError> {
        let mut values = before.values.clone();
        values.insert(key.to_owned(), json!(value));
        Ok(Overrides { values, ..before.clone() })
    }

    #[tokio::test]
    async fn of_many_changes_at_once_none_is_lost() {
        let bucket = bucket().await;
        let changes = (0..20).map(|number| {
            let (bucket, key) = (bucket.clone(), format!("recommend.key{number}"));
            tokio::spawn(async move { change(&bucket, |before| with(before, &key, number)).await.unwrap() })
        });
        let mut revisions = Vec::new();
        for change in changes.collect::<Vec<_>>() {
            revisions.push(change.await.unwrap().revision);
        }
        let last = present(&bucket).await.unwrap();
        assert_eq!(last.value.values.len(), 20);
        assert_eq!(last.revision, revisions.into_iter().max().unwrap());
    }

    #[tokio::test]
    async fn a_refused_edit_changes_nothing() {
        let bucket = bucket().await;
        change(&bucket, |before| with(before, "recommend.a", 1)).await.unwrap();
        let refused = change(&bucket, |_| Err::<Overrides, _>(BusError::Closed)).await;
        assert!(matches!(refused, Err(BusError::Closed)), "{refused:?}");
        assert_eq!(present(&bucket).await.unwrap().value.values["recommend.a"], json!(1));
    }

    #[tokio::test]
    async fn the_history_has_every_change_and_no_more_than_the_bucket_keeps() {
        let bucket = bucket().await;
        assert_eq!((present(&bucket).await.unwrap().revision, history(&bucket).await.unwrap().len()), (0, 0));
        for number in 0..70 {
            change(&bucket, |before| with(before, "recommend.a", number)).await.unwrap();
        }
        let values: Vec<u64> = history(&bucket)
            .await
            .unwrap()
            .into_iter()
            .map(|stored| stored.value.values["recommend.a"].as_u64().unwrap())
            .collect();
        assert_eq!(values, (6..70).collect::<Vec<_>>());
    }
}
