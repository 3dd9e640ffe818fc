//! Users, items and feedback: the nouns every other crate speaks in. No IO, no async, no threads.

pub mod change;
pub mod clock;
pub mod command;
pub mod cursor;
pub mod event_id;
pub mod expression;
pub mod failure;
pub mod feedback;
pub mod feedback_filter;
pub mod item;
pub mod labels;
pub mod limits;
pub mod log;
pub mod split;
pub mod tenant;
pub mod timestamp;
pub mod user;
pub mod version;

pub use change::{Change, ItemState};
pub use clock::{Clock, SystemClock};
pub use command::keys::{CommandKey, CommandTopic, RowKey};
pub use command::texts::{CommandText, TextField};
pub use command::{Command, CommandKind, FeedbackMode};
pub use event_id::EventId;
pub use expression::Expression;
pub use failure::FailureCode;
pub use feedback::{Feedback, FeedbackKey};
pub use feedback_filter::FeedbackFilter;
pub use item::{Item, ItemId, ItemPatch};
pub use log::{Checkpoint, LogEpoch};
pub use tenant::TenantId;
pub use timestamp::{Timestamp, TimestampError};
pub use user::{User, UserId, UserPatch};
pub use version::Version;
