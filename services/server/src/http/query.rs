//! The query string: integers, lists and texts, the first value of a name wins.

use std::borrow::Cow;
use std::time::Duration;

use ulex_domain::UserId;

use super::duration::parse_duration;
use super::path::decode;
use crate::backend::ListQuery;
use crate::error::ApiError;
use crate::settings::MAX_LIST;

/// A query string, read name by name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query<'a> {
    raw: &'a str,
}

impl<'a> Query<'a> {
    /// Wraps what stands behind the question mark.
    pub(crate) const fn new(raw: &'a str) -> Self {
        Self { raw }
    }

    fn values(self, name: &'static str) -> impl Iterator<Item = Result<Cow<'a, str>, ApiError>> {
        self.raw.split('&').filter_map(move |pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let matches = if key.contains(['%', '+']) {
                decode(key, true).as_deref() == Some(name)
            } else {
                key == name
            };
            matches.then(|| plain(name, value))
        })
    }

    /// The first value of `name`, decoded; `None` if absent.
    pub(crate) fn text(self, name: &'static str) -> Result<Option<Cow<'a, str>>, ApiError> {
        self.values(name).next().transpose()
    }

    /// The first value of `name`, decoded; `None` if absent or empty.
    pub(crate) fn non_empty(self, name: &'static str) -> Result<Option<Cow<'a, str>>, ApiError> {
        Ok(self.text(name)?.filter(|text| !text.is_empty()))
    }

    /// A count; `default` if absent or empty.
    pub(crate) fn count(self, name: &'static str, default: usize) -> Result<usize, ApiError> {
        let Some(text) = self.non_empty(name)? else { return Ok(default) };
        match text.parse::<i64>() {
            Ok(number) => usize::try_from(number)
                .map_err(|_negative| ApiError::invalid(name, &format!("0 or more, got {number}"))),
            Err(_reason) => Err(ApiError::invalid(name, &format!("an integer, got {text:?}"))),
        }
    }

    /// `n`, at most [`MAX_LIST`].
    pub(crate) fn n(self, default: usize) -> Result<usize, ApiError> {
        Ok(self.count("n", default)?.min(MAX_LIST))
    }

    /// `n`, `offset` and the categories: those of the path if there is one, else those of the query.
    pub(crate) fn list(self, default_n: usize, path_category: Option<&str>) -> Result<ListQuery, ApiError> {
        if self.raw.is_empty() {
            let categories = path_category.map(|category| vec![category.to_owned()]);
            return Ok(ListQuery { n: default_n.min(MAX_LIST), offset: 0, categories });
        }
        Ok(ListQuery {
            n: self.n(default_n)?,
            offset: self.count("offset", 0)?,
            categories: match path_category {
                Some(category) => Some(vec![category.to_owned()]),
                None => self.categories()?,
            },
        })
    }

    fn categories(self) -> Result<Option<Vec<String>>, ApiError> {
        let mut found: Option<Vec<String>> = None;
        for category in self.values("category") {
            let list = found.get_or_insert_default();
            let category = category?;
            if !category.is_empty() {
                list.push(category.into_owned());
            }
        }
        Ok(found)
    }

    /// Whose seen items are left out.
    pub(crate) fn reader(self) -> Result<Option<UserId>, ApiError> {
        Ok(self.non_empty("user-id")?.map(UserId::new))
    }

    /// A duration in Go's syntax, in nanoseconds; 0 if absent or empty.
    pub(crate) fn duration(self, name: &'static str) -> Result<i64, ApiError> {
        let Some(text) = self.non_empty(name)? else { return Ok(0) };
        parse_duration(&text)
            .ok_or_else(|| ApiError::invalid(name, &format!("a duration such as 10m or 1h30m, got {text:?}")))
    }
}

fn plain<'a>(name: &str, value: &'a str) -> Result<Cow<'a, str>, ApiError> {
    if value.contains(['%', '+']) {
        decode(value, true)
            .map(Cow::Owned)
            .ok_or_else(|| ApiError::invalid(name, &format!("percent-encoded UTF-8, got {value:?}")))
    } else {
        Ok(Cow::Borrowed(value))
    }
}

/// The latest time that is visible: now and the tolerated error of clocks.
pub(crate) fn visible_until(clock_error: Duration) -> ulex_domain::Timestamp {
    let nanos = i64::try_from(clock_error.as_nanos()).unwrap_or(i64::MAX);
    ulex_domain::Timestamp::now().plus_nanos(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_wins_and_empty_means_default() {
        let query = Query::new("n=3&n=4&offset=&user-id=a%20b+c&x");
        assert_eq!(query.n(10).unwrap(), 3);
        assert_eq!(query.count("offset", 7).unwrap(), 7);
        assert_eq!(query.reader().unwrap(), Some(UserId::new("a b c")));
        assert_eq!(Query::new("").n(10).unwrap(), 10);
        assert_eq!(Query::new("n=%2B5").n(10).unwrap(), 5);
        assert_eq!(Query::new("user-id=").reader().unwrap(), None);
    }

    #[test]
    fn counts_are_integers_of_at_least_zero() {
        for bad in ["n=x", "n=-1", "n=1.5", "n=99999999999999999999", "n=%ff"] {
            let message = Query::new(bad).n(10).unwrap_err().to_string();
            assert!(message.starts_with("n: expected"), "{bad}: {message}");
        }
        assert_eq!(Query::new("n=1000000").n(10).unwrap(), MAX_LIST);
    }

    #[test]
    fn categories_are_absent_empty_or_given() {
        let categories = |raw| Query::new(raw).list(10, None).unwrap().categories;
        assert_eq!(categories("n=1"), None);
        assert_eq!(categories("category="), Some(vec![]));
        assert_eq!(categories("category=a&category=&category=b%26"), Some(vec!["a".into(), "b&".into()]));
        let path = Query::new("category=a").list(10, Some("p")).unwrap().categories;
        assert_eq!(path, Some(vec!["p".to_owned()]));
    }
}
