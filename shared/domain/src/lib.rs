//! Users, items and feedback: the nouns every other crate speaks in. No IO, no async, no threads.

pub mod event;
pub mod event_id;
pub mod feedback;
pub mod item;
pub mod tenant;
pub mod timestamp;
pub mod user;

pub use event::{Change, Event, FeedbackMode};
pub use event_id::EventId;
pub use feedback::{Feedback, FeedbackKey};
pub use item::{Item, ItemId, ItemPatch};
pub use tenant::TenantId;
pub use timestamp::{Timestamp, TimestampError};
pub use user::{User, UserId, UserPatch};
