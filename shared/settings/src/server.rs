//! `[server]`: the REST API.

use std::time::Duration;

use crate::recommend::MAX_LIST_LENGTH;
use crate::resolve::Checks;
use crate::secret::Secret;
use crate::written;

/// See the module documentation.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// What `X-API-Key` must hold. Empty: no key needed.
    pub api_key: Secret,
    /// Length of a list when the request does not say.
    pub default_n: usize,
    /// How far a client's clock may be ahead.
    pub clock_error: Duration,
    /// Feedback makes users known.
    pub auto_insert_user: bool,
    /// Feedback makes items known.
    pub auto_insert_item: bool,
    /// Without effect, as in Gorse.
    pub cache_expire: Duration,
}

impl Server {
    pub(crate) fn resolve(written: &written::Server, checks: &mut Checks<'_>) -> Self {
        Self {
            api_key: checks.secret("server.api_key", &written.api_key),
            default_n: checks.integer("server.default_n", &written.default_n, 1..=MAX_LIST_LENGTH),
            clock_error: checks.duration("server.clock_error", &written.clock_error),
            auto_insert_user: checks.flag("server.auto_insert_user", &written.auto_insert_user),
            auto_insert_item: checks.flag("server.auto_insert_item", &written.auto_insert_item),
            cache_expire: checks.positive_duration("server.cache_expire", &written.cache_expire),
        }
    }
}
