//! A URL taken apart: what the client library understands, and options of ours.

use std::path::PathBuf;
use std::time::Duration;

use fred::types::config::{Config, TlsConnector};

use crate::address::{Address, percent_decoded};
use crate::cache::options::{bytes, duration};
use crate::tls::{Tls, Trust};

/// What a URL says beside where the servers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// How long an answer may take that somebody waits for.
    pub read_timeout: Duration,
    /// How long a change may take.
    pub write_timeout: Duration,
    /// How long connecting may take.
    pub dial_timeout: Duration,
    /// Connections of this process; each carries many requests at once.
    pub pool_size: usize,
    /// What the lists under this prefix may take on the servers together, about.
    pub max_bytes: usize,
    /// Whom to believe, if the URL asks for TLS.
    pub tls: Tls,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            read_timeout: Duration::from_millis(250),
            write_timeout: Duration::from_secs(1),
            dial_timeout: Duration::from_secs(2),
            pool_size: 4,
            max_bytes: 1 << 30,
            tls: Tls::default(),
        }
    }
}

/// Those of Gorse's driver that have no meaning here, or that are the default.
const OF_OTHER_DRIVERS: [&str; 19] = [
    "client_name",
    "network",
    "protocol",
    "max_retries",
    "min_retry_backoff",
    "max_retry_backoff",
    "max_redirects",
    "pool_fifo",
    "pool_timeout",
    "min_idle_conns",
    "max_idle_conns",
    "max_active_conns",
    "conn_max_idle_time",
    "conn_max_lifetime",
    "idle_timeout",
    "idle_check_frequency",
    "max_conn_age",
    "route_by_latency",
    "route_randomly",
];
/// Those of the client library.
const OF_THE_LIBRARY: [&str; 4] = ["node", "sentinelServiceName", "sentinelUsername", "sentinelPassword"];

/// Reads a URL; the error says what is wrong with it.
pub(super) fn read(url: &str) -> Result<(Config, Options), String> {
    let address = Address::parse(url);
    // The library is not told of TLS: it would believe whom the system believes.
    let (scheme, kind, secure) = match address.scheme {
        "redis+cluster" => ("redis-cluster", Kind::Cluster, false),
        "rediss+cluster" => ("redis-cluster", Kind::Cluster, true),
        "redis+sentinel" => ("redis-sentinel", Kind::Sentinel, false),
        "rediss+sentinel" => ("redis-sentinel", Kind::Sentinel, true),
        "rediss" => ("redis", Kind::One, true),
        other => (other, Kind::One, false),
    };
    let mut options = Options::default();
    let mut kept = Vec::new();
    for (name, value) in address.options() {
        match name {
            "addr" if kind != Kind::One => kept.push(format!("node={value}")),
            name if OF_THE_LIBRARY.contains(&name) => kept.push(format!("{name}={value}")),
            name if OF_OTHER_DRIVERS.contains(&name) => {}
            name => options.take(name, value)?,
        }
    }
    let url = format!("{scheme}://{}?{}", address.location, kept.join("&"));
    let config = match kind {
        Kind::One => Config::from_url_centralized(&url),
        Kind::Cluster => Config::from_url_clustered(&url),
        Kind::Sentinel => Config::from_url_sentinel(&url),
    };
    let mut config = config.map_err(|error| error.details().to_owned())?;
    if secure {
        config.tls = Some(TlsConnector::from(options.tls.client_config()?).into());
    } else if options.tls != Tls::default() {
        return Err("options of TLS are for rediss://".to_owned());
    }
    Ok((config, options))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    One,
    Cluster,
    Sentinel,
}

impl Options {
    fn take(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "read_timeout" => self.read_timeout = duration(name, value)?,
            "write_timeout" => self.write_timeout = duration(name, value)?,
            "dial_timeout" => self.dial_timeout = duration(name, value)?,
            "pool_size" => match value.parse() {
                Ok(size @ 1..=1_000) => self.pool_size = size,
                _ => return Err(format!("pool_size is a number from 1 to 1000, not {value:?}")),
            },
            "max_bytes" => self.max_bytes = bytes(name, value)?,
            "tls_ca" => self.tls.authorities = Some(file(name, value)?),
            "tls_cert" => self.tls.certificate = Some(file(name, value)?),
            "tls_key" => self.tls.key = Some(file(name, value)?),
            "skip_verify" => match value {
                "true" => self.tls.trust = Trust::Anyone,
                "false" => self.tls.trust = Trust::Host,
                _ => return Err(format!("skip_verify is true or false, not {value:?}")),
            },
            _ => return Err(format!("there is no option {name:?}")),
        }
        Ok(())
    }
}

fn file(name: &str, value: &str) -> Result<PathBuf, String> {
    percent_decoded(value).map(PathBuf::from).ok_or_else(|| format!("the value of option {name} is no text"))
}

#[cfg(test)]
mod tests {
    use fred::types::config::{Server, ServerConfig};

    use super::*;

    #[test]
    fn every_form_of_a_url_is_understood() {
        let (config, options) = read("redis://ulex:p%40ss@db.example:6380/2").unwrap();
        assert_eq!(
            config.server,
            ServerConfig::Centralized { server: Server::new("db.example".to_owned(), 6380) }
        );
        assert_eq!((config.username.as_deref(), config.password.as_deref()), (Some("ulex"), Some("p@ss")));
        assert_eq!((config.database, options), (Some(2), Options::default()));
        assert!(config.tls.is_none());

        let (config, _options) = read("redis+cluster://a:1?addr=b:2&node=c:3").unwrap();
        let ServerConfig::Clustered { mut hosts, .. } = config.server else { panic!("{:?}", config.server) };
        hosts.sort();
        assert_eq!(
            hosts.iter().map(|host| (&*host.host, host.port)).collect::<Vec<_>>(),
            [("a", 1), ("b", 2), ("c", 3)]
        );

        let (config, _options) =
            read("redis+sentinel://:secret@a:1/3?addr=b:2&sentinelServiceName=lists").unwrap();
        let ServerConfig::Sentinel { hosts, service_name, .. } = config.server else {
            panic!("no sentinels")
        };
        assert_eq!((hosts.len(), service_name.as_str(), config.database), (2, "lists", Some(3)));
    }

    #[test]
    fn a_url_with_tls_is_understood() {
        for url in ["rediss://a", "rediss+cluster://a:1", "rediss+sentinel://a?sentinelServiceName=x"] {
            assert!(read(url).unwrap().0.tls.is_some(), "{url}");
        }
    }

    #[test]
    fn options_are_ours_or_those_of_gorses_driver() {
        let (_config, options) = read(
            "redis://a?read_timeout=50ms&write_timeout=3&dial_timeout=1m&pool_size=9&max_bytes=2GiB&protocol=2",
        )
        .unwrap();
        assert_eq!(
            options,
            Options {
                read_timeout: Duration::from_millis(50),
                write_timeout: Duration::from_secs(3),
                dial_timeout: Duration::from_secs(60),
                pool_size: 9,
                max_bytes: 2 << 30,
                tls: Tls::default(),
            }
        );
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        for (url, word) in [
            ("redis://a?read_timeout=soon", "read_timeout"),
            ("redis://a?write_timeout=0", "write_timeout"),
            ("redis://a?pool_size=0", "pool_size"),
            ("redis://a?max_bytes=much", "max_bytes"),
            ("redis://a?db=3", "db"),
            ("redis://a?addr=b:1", "addr"),
            ("redis://a?tls_ca=/ca.pem", "rediss"),
            ("rediss://a?tls_ca=/no/such/file.pem", "/no/such/file.pem"),
            ("rediss://a?skip_verify=perhaps", "skip_verify"),
            ("rediss://a?skip_verify=true&tls_cert=/c.pem", "key"),
            ("redis+sentinel://a:1", "entinel"),
        ] {
            let reason = read(url).unwrap_err();
            assert!(reason.contains(word), "{url}: {reason}");
        }
        assert!(read("redis://a:port").is_err());
    }
}
