//! What actix leaves to the application: restart after a panic, orderly shutdown, one way to look inside, computing that
//! never blocks an actor, and the two actors every role has.

mod compute_pool;
mod guard;
mod heartbeat;
mod lifecycle;
mod model_follower;
mod outlet;
mod shutdown;
pub mod usage;

pub use compute_pool::{ComputePool, Panicked, yield_to_requests};
pub use guard::{Guard, GuardPolicy, Guarded};
pub use heartbeat::{Heartbeat, Vitals};
pub use lifecycle::{Observe, Shutdown};
pub use model_follower::{ModelChanged, ModelFollower};
pub use outlet::Outlet;
pub use shutdown::{Stop, StopOrder};
