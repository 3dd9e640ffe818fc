//! What actix leaves to the application: restart after a panic, orderly shutdown, one way to look inside, computing that
//! never blocks an actor, and the three actors every role has.

mod compute_pool;
mod guard;
mod heartbeat;
mod lifecycle;
mod model_follower;
mod outlet;
mod settings_follower;
mod shutdown;
pub mod usage;

pub use compute_pool::{ComputePool, Panicked, yield_to_requests};
pub use guard::{Guard, GuardPolicy, Guarded};
pub use heartbeat::{Heartbeat, Vitals};
pub use lifecycle::{Observe, Shutdown};
pub use model_follower::{ModelChanged, ModelFollower};
pub use outlet::Outlet;
pub use settings_follower::{InForce, SettingsChanged, SettingsFollower};
pub use shutdown::{Stop, StopOrder};
