//! From a URL, as PostgreSQL's own clients and Gorse write it, to what has to be done.

use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

use super::error::PostgresError;
use crate::address::{Address, percent_decoded};
use crate::tls::{Tls, Trust};

/// Connections for reading; the writer has one more.
const POOL_SIZE: usize = 16;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// What the driver understands by itself.
const OF_THE_DRIVER: [&str; 17] = [
    "user",
    "password",
    "dbname",
    "options",
    "application_name",
    "sslnegotiation",
    "host",
    "hostaddr",
    "port",
    "tcp_user_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "target_session_attrs",
    "channel_binding",
    "load_balance_hosts",
];
/// Options of the drivers Gorse uses that say nothing to this one.
const OF_OTHER_DRIVERS: [&str; 6] = [
    "binary_parameters",
    "default_query_exec_mode",
    "statement_cache_capacity",
    "description_cache_capacity",
    "fallback_application_name",
    "krbsrvname",
];

/// How to open a [`PostgresStore`](super::PostgresStore).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresSettings {
    pub(super) config: Config,
    pub(super) tls: Tls,
    /// Begins the name of every table.
    pub(crate) table_prefix: String,
    pub(crate) pool_size: usize,
    pub(super) connect_timeout: Duration,
}

impl PostgresSettings {
    /// Reads a URL `postgres://user:password@host:port/database?option=value`.
    ///
    /// Options: `sslmode` (`disable`, `prefer`, `require`, `verify-ca`, `verify-full`), `sslrootcert`, `sslcert`, `sslkey` (files),
    /// `pool_size` (connections for reading, 16 unless said; the writer has one more), `connect_timeout` (seconds, 5),
    /// those of tokio-postgres, and every other one is a setting of the server for the session, such as
    /// `search_path` or `statement_timeout` (30 s).
    ///
    /// # Errors
    ///
    /// `Rejected` with a reason if the URL makes no sense.
    pub fn new(url: &str, table_prefix: &str) -> Result<Self, crate::StorageError> {
        Self::read(url, table_prefix).map_err(|error| error.while_opening("read the address"))
    }

    fn read(url: &str, table_prefix: &str) -> Result<Self, PostgresError> {
        // Names of tables and indexes are cut off at 63 bytes.
        if table_prefix.len() > 40 || table_prefix.contains('\0') {
            return Err(refused("a table prefix has at most 40 bytes, and no NUL among them"));
        }
        let address = Address::parse(url);
        let mut own = Own::default();
        let kept: Vec<_> = address.options().filter(|option| !own.take(*option)).collect();
        if let Some(reason) = own.refused {
            return Err(refused(&reason));
        }
        let kept =
            kept.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
        let url = format!("postgres://{}?{kept}", address.location);
        let mut config: Config = url.parse()?;
        let options = config.get_options().map(str::to_owned).unwrap_or_default();
        config.options(format!("{} {options}", own.session.join(" ")).trim());
        if config.get_application_name().is_none() {
            config.application_name("ulex");
        }
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            config.host("localhost");
        }
        config.ssl_mode(own.ssl_mode);
        config.connect_timeout(own.connect_timeout);
        // A server that is gone without a word is noticed within ten seconds or so.
        config.keepalives_idle(Duration::from_secs(5));
        config.keepalives_interval(Duration::from_secs(2));
        config.keepalives_retries(3);
        config.tcp_user_timeout(Duration::from_secs(10));
        Ok(Self {
            config,
            tls: own.tls,
            table_prefix: table_prefix.to_owned(),
            pool_size: own.pool_size,
            connect_timeout: own.connect_timeout,
        })
    }
}

fn refused(reason: &str) -> PostgresError {
    PostgresError::Address(reason.to_owned())
}

/// The options that the driver does not get to see.
struct Own {
    ssl_mode: SslMode,
    tls: Tls,
    pool_size: usize,
    connect_timeout: Duration,
    /// As on the server's command line; later ones win.
    session: Vec<String>,
    refused: Option<String>,
}

impl Default for Own {
    fn default() -> Self {
        Self {
            ssl_mode: SslMode::Prefer,
            tls: Tls { trust: Trust::Anyone, ..Tls::default() },
            pool_size: POOL_SIZE,
            connect_timeout: CONNECT_TIMEOUT,
            session: vec![
                format!("-c statement_timeout={}", STATEMENT_TIMEOUT.as_millis()),
                "-c jit=off".to_owned(),
            ],
            refused: None,
        }
    }
}

impl Own {
    /// Takes an option, unless it is one of the driver's.
    fn take(&mut self, (name, value): (&str, &str)) -> bool {
        if OF_THE_DRIVER.contains(&name) {
            return false;
        }
        let Some(value) = percent_decoded(value) else {
            self.refused = Some(format!("the value of option {name} is no text"));
            return true;
        };
        match name {
            "sslmode" => self.set_ssl_mode(&value),
            "sslrootcert" => self.tls.authorities = (value != "system").then(|| value.into()),
            "sslcert" => self.tls.certificate = Some(value.into()),
            "sslkey" => self.tls.key = Some(value.into()),
            "pool_size" | "pool_max_conns" => match value.parse() {
                Ok(size @ 1..=1_000) => self.pool_size = size,
                _ => self.refused = Some(format!("{name} is a number from 1 to 1000, not {value:?}")),
            },
            "connect_timeout" => match value.parse() {
                Ok(seconds @ 1..=3_600) => self.connect_timeout = Duration::from_secs(seconds),
                _ => {
                    self.refused =
                        Some(format!("connect_timeout is a number of seconds from 1, not {value:?}"))
                }
            },
            "sslpassword" | "sslcrl" => self.refused = Some(format!("option {name} is not supported")),
            name if OF_OTHER_DRIVERS.contains(&name) => {}
            name if is_setting(name) => self.session.push(format!("-c {name}={}", escaped(&value))),
            name => self.refused = Some(format!("there is no option {name:?}")),
        }
        true
    }

    fn set_ssl_mode(&mut self, value: &str) {
        (self.ssl_mode, self.tls.trust) = match value {
            "disable" => (SslMode::Disable, Trust::Anyone),
            "allow" | "prefer" => (SslMode::Prefer, Trust::Anyone),
            "require" => (SslMode::Require, Trust::Anyone),
            "verify-ca" => (SslMode::Require, Trust::Authority),
            "verify-full" => (SslMode::Require, Trust::Host),
            other => {
                let modes = "disable, prefer, require, verify-ca or verify-full";
                self.refused = Some(format!("sslmode is {modes}, not {other:?}"));
                return;
            }
        };
    }
}

fn is_setting(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "_.".contains(letter))
}

/// White space ends an option on the server's command line.
fn escaped(value: &str) -> String {
    value
        .chars()
        .flat_map(|letter| {
            (letter == '\\' || letter.is_ascii_whitespace()).then_some('\\').into_iter().chain([letter])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn read(url: &str) -> PostgresSettings {
        PostgresSettings::new(url, "p_").unwrap()
    }

    fn reason(url: &str) -> String {
        let error = PostgresSettings::new(url, "").unwrap_err();
        assert!(!error.is_transient());
        std::error::Error::source(&error).unwrap().to_string()
    }

    #[test]
    fn a_url_of_gorse_is_understood() {
        let settings = read("postgres://gorse:p%40ss@db.example:5433/gorse?sslmode=disable");
        assert_eq!(settings.config.get_user(), Some("gorse"));
        assert_eq!(settings.config.get_password(), Some("p@ss".as_bytes()));
        assert_eq!(settings.config.get_ports(), [5433]);
        assert_eq!(settings.config.get_dbname(), Some("gorse"));
        assert_eq!(settings.config.get_ssl_mode(), SslMode::Disable);
        assert_eq!((settings.tls.trust, settings.pool_size), (Trust::Anyone, POOL_SIZE));
    }

    #[test]
    fn modes_of_tls_differ_in_what_a_server_has_to_prove() {
        for (mode, ssl_mode, trust) in [
            ("prefer", SslMode::Prefer, Trust::Anyone),
            ("require", SslMode::Require, Trust::Anyone),
            ("verify-ca", SslMode::Require, Trust::Authority),
            ("verify-full", SslMode::Require, Trust::Host),
        ] {
            let settings = read(&format!("postgresql://db/x?sslmode={mode}&sslrootcert=/etc/ca%20s.pem"));
            assert_eq!((settings.config.get_ssl_mode(), settings.tls.trust), (ssl_mode, trust));
            assert_eq!(settings.tls.authorities, Some(PathBuf::from("/etc/ca s.pem")));
        }
        assert!(reason("postgres://db/x?sslmode=verify").contains("verify-full"));
    }

    #[test]
    fn what_is_no_option_of_ours_is_a_setting_of_the_session() {
        let url = "postgres://db/x?search_path=a%20b,c&pool_size=3&TimeZone=UTC&options=-c%20work_mem%3D1MB";
        let settings = read(url);
        assert_eq!(settings.pool_size, 3);
        let options = settings.config.get_options().unwrap();
        for expected in
            ["-c statement_timeout=30000", "-c search_path=a\\ b,c", "-c TimeZone=UTC", "-c work_mem=1MB"]
        {
            assert!(options.contains(expected), "{options}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        assert!(reason("postgres://db/x?pool_size=0").contains("pool_size"));
        assert!(reason("postgres://db/x?connect_timeout=soon").contains("connect_timeout"));
        assert!(reason("postgres://db/x?sslcrl=x").contains("sslcrl"));
        assert!(reason("postgres://db/x?a%20b=1").contains("a%20b"));
        assert!(!reason("postgres://db:port/x").is_empty());
        let error = PostgresSettings::new("postgres://db/x", &"p".repeat(41)).unwrap_err();
        assert!(!error.is_transient());
    }
}
