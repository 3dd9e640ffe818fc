//! The first MovieLens set, `ml-100k`: `u.data` (`user, item, rating, seconds` between tabs), and if they are there
//! `u.item` and `u.user` between bars. A film has a flag for each of nineteen genres, in a fixed order.

use std::path::Path;

use serde_json::{Value, json};
use smol_str::SmolStr;
use ulex_domain::{Feedback, ItemId, User, UserId};

use super::records::{Encoding, Lines, Records, Row, Source};
use super::{FeedbackDefaults, Part, fields, folder, movietweetings};

/// As `u.genre` lists them. The first says that nothing is known.
const GENRES: [&str; 19] = [
    "",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
];

/// The files of the folder, if it is one of this kind.
pub(super) fn parts(path: &Path, defaults: &FeedbackDefaults) -> Option<Vec<Part>> {
    let ratings = folder::find(path, "u.data")?;
    let mut parts = Vec::new();
    if let Some(people) = folder::find(path, "u.user") {
        parts.push(Part::new(&people, |source| Ok(people_of(source))));
    }
    if let Some(films) = folder::find(path, "u.item") {
        parts.push(Part::new(&films, |source| Ok(films_of(source))));
    }
    let feedback_type = defaults.feedback_type.clone();
    parts.push(Part::new(&ratings, move |source| Ok(ratings_of(source, feedback_type.clone()))));
    Some(parts)
}

fn ratings_of(source: Source, feedback_type: SmolStr) -> Records {
    Lines::new(source, Encoding::Utf8).records(move |text| {
        let fields: Vec<&str> = text.split('\t').collect();
        let [user, item, rating, seconds] = fields[..] else {
            return Err(format!(
                "expected user, item, rating and seconds between tabs, got {} fields",
                fields.len()
            ));
        };
        let timestamp = fields::time(seconds)?;
        Ok(Row::Feedback(Feedback {
            feedback_type: feedback_type.clone(),
            user_id: UserId::new(fields::id(user, "user id")?),
            item_id: ItemId::new(fields::id(item, "item id")?),
            value: fields::number(rating, "rating")?,
            timestamp,
            updated: timestamp,
            labels: Value::Null,
            comment: String::new(),
        }))
    })
}

fn films_of(source: Source) -> Records {
    Lines::new(source, Encoding::Utf8OrLatin1).records(|text| {
        let fields: Vec<&str> = text.split('|').collect();
        // Id, title, date of release, of the video, address, then the flags.
        if fields.len() != 5 + GENRES.len() {
            return Err(format!("expected {} fields between bars, got {}", 5 + GENRES.len(), fields.len()));
        }
        let flags = fields[5..].iter().zip(GENRES);
        let genres: Vec<&str> = flags.filter(|(flag, _)| **flag == "1").map(|(_, genre)| genre).collect();
        movietweetings::film(fields[0], fields[1], &genres.join("|")).map(Row::Item)
    })
}

fn people_of(source: Source) -> Records {
    Lines::new(source, Encoding::Utf8OrLatin1).records(|text| {
        let fields: Vec<&str> = text.split('|').collect();
        let [user, age, gender, occupation, zip] = fields[..] else {
            return Err(format!(
                "expected user, age, gender, occupation and zip code, got {} fields",
                fields.len()
            ));
        };
        let labels = json!({"age": age, "gender": gender, "occupation": occupation, "zip_code": zip});
        let user_id = UserId::new(fields::id(user, "user id")?);
        Ok(Row::User(User { user_id, labels, comment: String::new() }))
    })
}

#[cfg(test)]
mod tests {
    use super::super::records::testing::{all, text};
    use super::*;

    #[test]
    fn films_have_the_genres_of_their_flags() {
        let toy_story = "1|Toy Story (1995)|01-Jan-1995||http://us.imdb.com/M/title-exact?Toy%20Story%20(1995)|0|0|0|1|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0";
        let (rows, rejects) =
            all(films_of(text(&format!("{toy_story}\n267|unknown||||1{}\n9|x\n", "|0".repeat(18)))));
        let [Row::Item(first), Row::Item(second)] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!(first.labels, json!({"genres": ["Animation", "Children's", "Comedy"], "decade": "1990s"}));
        assert_eq!((second.comment.as_str(), second.categories.as_deref()), ("unknown", Some(&[][..])));
        assert_eq!(rejects, ["3: expected 24 fields between bars, got 2"]);
    }

    #[test]
    fn ratings_stand_between_tabs() {
        let (rows, rejects) = all(ratings_of(text("196\t242\t3\t881250949\n1::2::3::4\n"), "rating".into()));
        let Row::Feedback(row) = &rows[0] else { panic!("{rows:?}") };
        assert_eq!((row.user_id.as_str(), row.item_id.as_str(), row.value), ("196", "242", 3.0));
        assert_eq!(row.timestamp.to_string(), "1997-12-04T15:55:49Z");
        assert_eq!(rejects, ["2: expected user, item, rating and seconds between tabs, got 1 fields"]);
    }

    #[test]
    fn people_have_what_is_known_of_them() {
        let (rows, rejects) = all(people_of(text("1|24|M|technician|85711\n2|53\n")));
        let Row::User(user) = &rows[0] else { panic!("{rows:?}") };
        assert_eq!(user.labels["occupation"], "technician");
        assert_eq!(rejects, ["2: expected user, age, gender, occupation and zip code, got 2 fields"]);
    }
}
