//! What the REST surface has to know of the configuration, resolved.

use std::time::Duration;

/// Longest list and largest page; larger `n` are cut to this. Pages go on through their cursor.
pub const MAX_LIST: usize = 10_000;

/// How an unknown user or item is reported. Client libraries compare the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NotFoundStyle {
    /// `user <id> not found`, as Gorse's newest sources say.
    #[default]
    Sentence,
    /// `<id>: user not found`, as Gorse 0.5 said.
    Tagged,
}

/// Limits on what callers may store; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Users in the store.
    pub max_users_count: u64,
    /// Items in the store.
    pub max_items_count: u64,
    /// Bytes of compact JSON of labels.
    pub max_labels_size: u64,
    /// Bytes of a comment.
    pub max_comment_size: u64,
    /// Categories of an item.
    pub max_categories_count: u64,
    /// Bytes of a category.
    pub max_categories_size: u64,
}

/// What bounds one request and all of them together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request body, after decompression.
    pub body: usize,
    /// Bytes of all request bodies in memory, with what they are decoded to.
    pub bodies: usize,
    /// Longest pause of a body that is arriving.
    pub body_time: Duration,
    /// Longest time for the answer once the body has arrived; each row of a write adds to it.
    pub request_time: Duration,
    /// Requests being answered at once; those answered from memory do not count.
    pub in_flight: usize,
    /// Requests whose bodies are arriving.
    pub uploads: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 32 << 20,
            bodies: 256 << 20,
            body_time: Duration::from_secs(30),
            request_time: Duration::from_secs(60),
            in_flight: 1024,
            uploads: 4096,
        }
    }
}

/// The resolved settings of the REST surface. May be replaced while requests run.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// Callers must send this as `X-API-Key`; empty is open.
    pub api_key: String,
    /// Opens every route; empty is no such key.
    pub admin_api_key: String,
    /// The dashboard has a login, so its routes are closed to strangers.
    pub dashboard_login: bool,
    /// `n` of requests that give none.
    pub default_n: usize,
    /// Length of candidate lists; what `n=0` means for neighbours.
    pub cache_size: usize,
    /// Feedback this far in the future is visible.
    pub clock_error: Duration,
    /// Feedback creates unknown users.
    pub auto_insert_user: bool,
    /// Feedback creates unknown items.
    pub auto_insert_item: bool,
    /// Item search has columns to look at.
    pub search: bool,
    /// Origins that browsers may call from, lower case; empty or `.*` is any.
    pub cors_domains: Vec<String>,
    /// Methods that browsers may use; empty is those of the route.
    pub cors_methods: Vec<String>,
    /// How an unknown user or item is reported.
    pub not_found: NotFoundStyle,
    /// Limits on what callers may store.
    pub quota: Quota,
    /// What bounds requests.
    pub limits: Limits,
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            api_key: String::new(),
            admin_api_key: String::new(),
            dashboard_login: false,
            default_n: 10,
            cache_size: 100,
            clock_error: Duration::from_secs(5),
            auto_insert_user: true,
            auto_insert_item: true,
            search: false,
            cors_domains: vec![".*".to_owned()],
            cors_methods: ["GET", "POST", "PUT", "DELETE", "PATCH"].map(str::to_owned).to_vec(),
            not_found: NotFoundStyle::default(),
            quota: Quota::default(),
            limits: Limits::default(),
        }
    }
}
