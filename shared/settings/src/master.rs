//! `[master]`: listeners, dashboard login, threads.

use std::time::Duration;

use crate::resolve::Checks;
use crate::secret::Secret;
use crate::written;

/// See the module documentation.
#[derive(Clone, Debug, PartialEq)]
pub struct Master {
    /// Gorse's gRPC port; nothing listens there.
    pub port: u16,
    /// Gorse's gRPC host.
    pub host: String,
    /// TLS between processes.
    pub ssl: Ssl,
    /// REST API and dashboard; 0 lets the system choose.
    pub http_port: u16,
    /// Address of that listener.
    pub http_host: String,
    /// Origins that may call from a browser, compared exactly. Empty, or with `.*` in it: any.
    pub http_cors_domains: Vec<String>,
    /// Methods they may use. Empty: those the routes have.
    pub http_cors_methods: Vec<String>,
    /// Threads for training, at least 1.
    pub n_jobs: usize,
    /// How long a process or a leader may be silent.
    pub meta_timeout: Duration,
    /// None: the dashboard is open.
    pub login: Option<Login>,
    /// Hide `[database]` from the dashboard.
    pub dashboard_redacted: bool,
    /// Opens the dashboard API. Empty: not used.
    pub admin_api_key: Secret,
}

/// Name and password of the dashboard.
#[derive(Clone, Debug, PartialEq)]
pub struct Login {
    /// May be empty if the password is not.
    pub user_name: String,
    /// May be empty if the name is not.
    pub password: Secret,
}

/// Certificates for TLS between processes.
#[derive(Clone, Debug, PartialEq)]
pub struct Ssl {
    /// Whether TLS is on.
    pub mode: bool,
    /// File of the authority.
    pub ca: String,
    /// File of the own certificate.
    pub cert: String,
    /// File of the own key.
    pub key: String,
}

impl Master {
    pub(crate) fn resolve(written: &written::Master, checks: &mut Checks<'_>) -> Self {
        Self {
            port: checks.integer("master.port", &written.port, PORTS),
            host: checks.text("master.host", &written.host),
            ssl: Ssl {
                mode: checks.flag("master.ssl_mode", &written.ssl_mode),
                ca: checks.text("master.ssl_ca", &written.ssl_ca),
                cert: checks.text("master.ssl_cert", &written.ssl_cert),
                key: checks.text("master.ssl_key", &written.ssl_key),
            },
            http_port: checks.integer("master.http_port", &written.http_port, PORTS),
            http_host: checks.text("master.http_host", &written.http_host),
            http_cors_domains: checks.texts("master.http_cors_domains", &written.http_cors_domains),
            http_cors_methods: checks.texts("master.http_cors_methods", &written.http_cors_methods),
            n_jobs: checks
                .optional_integer("master.n_jobs", &written.n_jobs, 1..=MOST_JOBS)
                .unwrap_or_else(available_cores),
            meta_timeout: checks.positive_duration("master.meta_timeout", &written.meta_timeout),
            login: login(written, checks),
            dashboard_redacted: checks.flag("master.dashboard_redacted", &written.dashboard_redacted),
            admin_api_key: checks.secret("master.admin_api_key", &written.admin_api_key),
        }
    }
}

fn login(written: &written::Master, checks: &mut Checks<'_>) -> Option<Login> {
    let user_name = checks.text("master.dashboard_user_name", &written.dashboard_user_name);
    let password = checks.secret("master.dashboard_password", &written.dashboard_password);
    let wanted = !user_name.is_empty() || !password.is_empty();
    wanted.then_some(Login { user_name, password })
}

const PORTS: std::ops::RangeInclusive<i64> = 0..=65535;

/// A guard against a typing error that would start a million threads.
const MOST_JOBS: i64 = 4096;

fn available_cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
