//! Where an actor's announcements go.

use std::fmt;
use std::sync::Arc;

/// Hands messages of one type to whoever listens: to the actor that stands behind a [`crate::Guarded`] at that moment, to
/// nobody, or to a test. An actor holds outlets of exactly the messages it announces.
pub struct Outlet<M>(Arc<dyn Fn(M) + Send + Sync>);

impl<M> Clone for Outlet<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> fmt::Debug for Outlet<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Outlet")
    }
}

impl<M> Outlet<M> {
    /// Calls `listener` with every message; it must not block.
    pub fn new(listener: impl Fn(M) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listener))
    }

    /// Nobody listens.
    #[must_use]
    pub fn closed() -> Self {
        Self::new(|_| {})
    }

    /// Announces. Without waiting and without an answer: if the listener is being replaced, the message is lost, so
    /// only announce what is announced again or can be asked for.
    pub fn send(&self, message: M) {
        (self.0)(message);
    }
}
