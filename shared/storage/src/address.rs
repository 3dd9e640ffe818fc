//! A backend's URL, taken apart: `scheme://location?option=value&...`.

/// The parts of a URL, borrowed from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address<'url> {
    /// What stands before `://`; the whole text if there is none.
    pub scheme: &'url str,
    /// What stands between `://` and `?`.
    pub location: &'url str,
    query: &'url str,
}

impl<'url> Address<'url> {
    /// Takes `url` apart. Never fails: what makes no sense matches no scheme.
    pub fn parse(url: &'url str) -> Self {
        let (scheme, rest) = url.split_once("://").unwrap_or((url, ""));
        let (location, query) = rest.split_once('?').unwrap_or((rest, ""));
        Self { scheme, location, query }
    }

    #[cfg_attr(
        not(any(feature = "sqlite", feature = "postgres", feature = "redis")),
        expect(dead_code, reason = "only files and servers have options")
    )]
    /// The options in the order they are written; one without `=` has an empty value.
    pub fn options(&self) -> impl Iterator<Item = (&'url str, &'url str)> {
        self.query
            .split('&')
            .filter(|option| !option.is_empty())
            .map(|option| option.split_once('=').unwrap_or((option, "")))
    }
}

/// Text with `%20` and the like as what is meant; `None` if that is no text.
#[cfg(any(feature = "postgres", feature = "redis"))]
pub fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn takes_a_url_apart() {
        let address = Address::parse("sqlite:///var/lib/ulex.db?max_page_count=10&plain");
        assert_eq!((address.scheme, address.location), ("sqlite", "/var/lib/ulex.db"));
        assert_eq!(address.options().collect::<Vec<_>>(), [("max_page_count", "10"), ("plain", "")]);
    }

    #[test]
    fn text_without_a_scheme_is_its_own_scheme() {
        assert_eq!(Address::parse("data.db").scheme, "data.db");
        assert_eq!(Address::parse("").options().count(), 0);
    }
}
