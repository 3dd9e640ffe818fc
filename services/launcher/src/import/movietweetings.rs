//! `ratings.dat`, `movies.dat` and `users.dat` with fields separated by `::` and no header.
//!
//! Ratings are `user::movie::rating::seconds`, films `movie::title (year)::genre|genre`. Users are either
//! `user::account` (MovieTweetings) or `user::gender::age::occupation::zip` (the older MovieLens sets).

use std::path::Path;

use serde_json::{Value, json};
use smol_str::SmolStr;
use ulex_domain::{Feedback, Item, ItemId, User, UserId};

use super::fields;
use super::records::{Encoding, Lines, Records, Row, Source};
use super::{FeedbackDefaults, ImportError, Part, folder};

/// Finds the files of a folder.
pub(super) fn parts(path: &Path, defaults: &FeedbackDefaults) -> Result<Vec<Part>, ImportError> {
    let ratings = folder::find(path, "ratings.dat").ok_or_else(|| ImportError::Missing {
        path: path.to_path_buf(),
        expected: "ratings.dat or ratings.dat.gz",
    })?;
    let mut parts = Vec::new();
    if let Some(users) = folder::find(path, "users.dat") {
        parts.push(Part::new(&users, |source| Ok(users_of(source))));
    }
    if let Some(movies) = folder::find(path, "movies.dat") {
        parts.push(Part::new(&movies, |source| Ok(movies_of(source))));
    }
    let feedback_type = defaults.feedback_type.clone();
    parts.push(Part::new(&ratings, move |source| Ok(ratings_of(source, feedback_type.clone()))));
    Ok(parts)
}

fn ratings_of(source: Source, feedback_type: SmolStr) -> Records {
    Lines::new(source, Encoding::Utf8).records(move |text| {
        let fields: Vec<&str> = text.split("::").collect();
        let [user, item, rating, seconds] = fields[..] else {
            return Err(format!("expected user::movie::rating::seconds, got {} fields", fields.len()));
        };
        let timestamp = fields::time(seconds)?;
        Ok(Row::Feedback(Feedback {
            feedback_type: feedback_type.clone(),
            user_id: UserId::new(fields::id(user, "user id")?),
            item_id: ItemId::new(fields::id(item, "movie id")?),
            value: fields::number(rating, "rating")?,
            timestamp,
            updated: timestamp,
            labels: Value::Null,
            comment: String::new(),
        }))
    })
}

fn movies_of(source: Source) -> Records {
    Lines::new(source, Encoding::Utf8OrLatin1).records(|text| {
        let mut fields = text.splitn(2, "::");
        let (Some(id), Some(rest)) = (fields.next(), fields.next()) else {
            return Err("expected movie::title (year)::genre|genre".to_owned());
        };
        // A title may hold two colons, genres never do.
        let (title, genres) = rest.rsplit_once("::").unwrap_or((rest, ""));
        film(id, title, genres).map(Row::Item)
    })
}

/// A film from its id, its title with the year, and its genres between bars.
pub(super) fn film(id: &str, title: &str, genres: &str) -> Result<Item, String> {
    let mut item = Item::bare(ItemId::new(fields::id(id, "movie id")?));
    let genres: Vec<String> =
        fields::words(genres, '|').into_iter().filter(|genre| genre != "(no genres listed)").collect();
    let year = fields::year_of_title(title);
    item.timestamp = year.and_then(fields::year).unwrap_or_default();
    item.labels = Value::Object(fields::film_labels(&genres, year));
    item.categories = Some(genres);
    title.trim().clone_into(&mut item.comment);
    Ok(item)
}

fn users_of(source: Source) -> Records {
    Lines::new(source, Encoding::Utf8OrLatin1).records(|text| {
        let fields: Vec<&str> = text.split("::").collect();
        let labels = match fields[..] {
            [_, account] => json!({"account": account}),
            [_, gender, age, occupation, zip] => {
                json!({"gender": gender, "age": age, "occupation": occupation, "zip_code": zip})
            }
            _ => return Err(format!("expected 2 or 5 fields, got {}", fields.len())),
        };
        let user_id = UserId::new(fields::id(fields[0], "user id")?);
        Ok(Row::User(User { user_id, labels, comment: String::new() }))
    })
}

#[cfg(test)]
mod tests {
    use super::super::records::testing::{all, text};
    use super::*;

    #[test]
    fn ids_keep_their_zeros() {
        let (rows, rejects) = all(ratings_of(text("2::0104257::8::1364690142\n2::1::8\n"), "rating".into()));
        let Row::Feedback(row) = &rows[0] else { panic!("{rows:?}") };
        assert_eq!((row.item_id.as_str(), row.value), ("0104257", 8.0));
        assert_eq!(rejects, ["2: expected user::movie::rating::seconds, got 3 fields"]);
    }

    #[test]
    fn titles_may_hold_colons_and_genres_may_be_missing() {
        let (rows, _) =
            all(movies_of(text("1::Alien::Covenant (2017)::Horror|Sci-Fi\n2::Untitled\n3::X (1950)::\n")));
        let films: Vec<&Item> =
            rows.iter().map(|row| if let Row::Item(item) = row { item } else { panic!("{row:?}") }).collect();
        assert_eq!(films[0].comment, "Alien::Covenant (2017)");
        assert_eq!(films[0].labels, json!({"genres": ["Horror", "Sci-Fi"], "decade": "2010s"}));
        assert_eq!((films[1].comment.as_str(), films[1].timestamp.is_zero()), ("Untitled", true));
        assert_eq!(films[2].categories, Some(vec![]));
    }

    #[test]
    fn people_come_in_two_forms() {
        let (rows, rejects) = all(users_of(text("1::177651718\n2::F::25::12::94043\n3\n")));
        let Row::User(second) = &rows[1] else { panic!("{rows:?}") };
        assert_eq!(second.labels["occupation"], "12");
        assert_eq!(rejects, ["3: expected 2 or 5 fields, got 1"]);
    }
}
