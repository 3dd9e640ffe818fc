//! Values that must not reach a log or a dashboard: passwords, keys, tokens, and the passwords inside store URLs.

use std::fmt;

/// Stands in place of a secret that is not empty.
pub const MASK: &str = "******";

/// Keys of the file that hold a secret.
pub(crate) const SECRET_KEYS: [&str; 9] = [
    "master.dashboard_password",
    "master.admin_api_key",
    "server.api_key",
    "recommend.ranker.reranker_api.auth_token",
    "oidc.client_secret",
    "openai.auth_token",
    "blob.s3.secret_access_key",
    "blob.azure.account_key",
    "blob.azure.connection_string",
];

pub(crate) fn is_secret(key: &str) -> bool {
    SECRET_KEYS.contains(&key)
}

/// A password, key or token. Printing it, also for debugging, prints the mask.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps the text; empty means "not set".
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for comparing and for sending where it belongs.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it is not set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "" } else { MASK })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// The address of a store. Printing it, also for debugging, hides the password in it.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl(String);

impl StoreUrl {
    /// Wraps an address as it is.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// The address with its password, for opening the store.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What stands before `://`; empty without one.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.0.split_once("://").map_or("", |(scheme, _)| scheme)
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&mask_url(&self.0))
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Hides `scheme://user:PASSWORD@...` and the values of query parameters that sound like secrets.
///
/// MySQL's addresses are no URLs and passwords may hold any character, so everything up to the last `@` counts.
pub(crate) fn mask_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return String::from(url) };
    let (user_info, rest) = rest.rsplit_once('@').map_or((None, rest), |(user, rest)| (Some(user), rest));
    let mut masked = format!("{scheme}://");
    if let Some(user_info) = user_info {
        match user_info.split_once(':') {
            Some((user, _)) => masked.push_str(&format!("{user}:{MASK}@")),
            None => masked.push_str(&format!("{user_info}@")),
        }
    }
    let (address, query) =
        rest.split_once('?').map_or((rest, None), |(address, query)| (address, Some(query)));
    masked.push_str(address);
    if let Some(query) = query {
        let parameters: Vec<String> = query.split('&').map(mask_parameter).collect();
        masked.push('?');
        masked.push_str(&parameters.join("&"));
    }
    masked
}

fn mask_parameter(parameter: &str) -> String {
    let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
    let lower = name.to_ascii_lowercase();
    let sounds_secret = ["key", "password", "secret", "token"].iter().any(|word| lower.contains(word));
    if sounds_secret && !value.is_empty() { format!("{name}={MASK}") } else { String::from(parameter) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_never_printed() {
        let secret = Secret::new("hush");
        assert_eq!(format!("{secret} {secret:?}"), "****** \"******\"");
        assert_eq!(secret.expose(), "hush");
        assert_eq!(format!("{} {:?}", Secret::default(), Secret::default()), " \"\"");
    }

    #[test]
    fn store_urls_are_printed_without_their_password() {
        let cases = [
            ("sqlite:///var/data.sqlite", "sqlite:///var/data.sqlite"),
            ("redis://localhost:6379/0", "redis://localhost:6379/0"),
            ("redis://me@localhost", "redis://me@localhost"),
            ("redis://:hush@localhost:6379/0", "redis://:******@localhost:6379/0"),
            (
                "mysql://me:h@u/s:h@tcp(db:3306)/x?parseTime=true",
                "mysql://me:******@tcp(db:3306)/x?parseTime=true",
            ),
            ("qdrant://host:6334?api_key=hush&tls=1", "qdrant://host:6334?api_key=******&tls=1"),
            ("no url", "no url"),
        ];
        for (url, masked) in cases {
            assert_eq!(StoreUrl::new(url).to_string(), masked);
            assert_eq!(format!("{:?}", StoreUrl::new(url)), format!("\"{masked}\""));
        }
        assert_eq!(StoreUrl::new("a+b://c").scheme(), "a+b");
    }
}
