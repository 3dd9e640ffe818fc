//! Small deterministic worlds, and the public data sets where they are at hand.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use ulex_domain::Timestamp;

use crate::Client;

const ULEX_DATA_DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data");

/// Largest number of rows in one request.
const BATCH: usize = 1000;

/// Users, items and feedback in the shape of REST bodies.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// For `POST /api/users`.
    pub users: Vec<Value>,
    /// For `POST /api/items`.
    pub items: Vec<Value>,
    /// For `POST /api/feedback`.
    pub feedback: Vec<Value>,
}

impl World {
    /// Sends everything.
    ///
    /// # Panics
    ///
    /// Panics if the server refuses any of it.
    pub fn load(&self, client: &mut Client) {
        let kinds =
            [("/api/users", &self.users), ("/api/items", &self.items), ("/api/feedback", &self.feedback)];
        for (path, rows) in kinds {
            for batch in rows.chunks(BATCH) {
                client.post(path, &json!(batch));
            }
        }
    }
}

/// One row of feedback, of long ago.
#[must_use]
pub fn feedback(feedback_type: &str, user: &str, item: &str) -> Value {
    json!({
        "FeedbackType": feedback_type, "UserId": user, "ItemId": item, "Value": 1,
        "Timestamp": "2024-01-01T00:00:00Z", "Comment": "",
    })
}

/// How many users and items each of [`TASTES`] has.
pub const PER_TASTE: usize = 40;

/// The tastes of [`two_tastes`].
pub const TASTES: [&str; 2] = ["tea", "bike"];

/// Two groups of people who like nothing of what the other group likes: user `tea-user-7` likes two thirds of the
/// items `tea-0` to `tea-39`. The best answer for whoever likes tea is the tea they do not have yet.
///
/// To be served with `positive_feedback_types = ["like"]` and `read_feedback_types = ["like"]`.
#[must_use]
pub fn two_tastes() -> World {
    let mut world = World::default();
    for taste in TASTES {
        for n in 0..PER_TASTE {
            world.users.push(json!({"UserId": format!("{taste}-user-{n}")}));
            world.items.push(json!({
                "ItemId": format!("{taste}-{n}"), "Categories": [taste], "Timestamp": "2024-01-01T00:00:00Z",
                "Labels": {"kind": taste}, "Comment": format!("{taste} number {n}"),
            }));
            let liked = (0..PER_TASTE).filter(|item| (n * 7 + item * 5) % 3 != 0);
            let rows =
                liked.map(|item| feedback("like", &format!("{taste}-user-{n}"), &format!("{taste}-{item}")));
            world.feedback.extend(rows);
        }
    }
    world
}

/// The configuration for [`two_tastes`].
pub const TWO_TASTES_CONFIG: &str = r#"
[recommend.data_source]
positive_feedback_types = ["like"]
read_feedback_types = ["like"]

[[recommend.non-personalized]]
name = "popular"
score = "len(feedback)"

[[recommend.item-to-item]]
name = "neighbors"
type = "users"

[[recommend.user-to-user]]
name = "neighbors"
type = "items"
"#;

/// Where the public data sets are: `ULEX_DATA_DIR`.
#[must_use]
pub fn data_dir() -> PathBuf {
    std::env::var_os("ULEX_DATA_DIR").map_or_else(|| PathBuf::from(ULEX_DATA_DIR), PathBuf::from)
}

/// Where recorded answers are: `ULEX_CONFORMANCE_DIR`, by default beside the data sets.
#[must_use]
pub fn conformance_dir() -> PathBuf {
    std::env::var_os("ULEX_CONFORMANCE_DIR").map_or_else(|| data_dir().join("../conformance"), PathBuf::from)
}

/// The dates that give "newest first" one right answer.
const DATED: [(&str, &str); 5] = [
    ("10", "1996-01-22"),
    ("100", "1997-02-14"),
    ("315", "1998-10-23"),
    ("1432", "1998-10-09"),
    ("918", "1998-04-03"),
];

/// The items nearest to item 1, in this order; every other item is far away.
const NEAREST: [(&str, f64); 4] = [("1", 0.0), ("1060", 0.1), ("404", 0.2), ("1219", 0.3)];

/// MovieLens 100K as it was loaded when the answers were recorded: dates and vectors are made up where the
/// recordings need one right answer.
///
/// # Panics
///
/// Panics if the files are not there.
#[must_use]
pub fn movielens_100k() -> World {
    let folder = data_dir().join("ml-100k");
    World {
        users: rows(&folder.join("ml-100k.user")).iter().map(|row| movielens_user(row)).collect(),
        items: rows(&folder.join("ml-100k.item")).iter().map(|row| movielens_item(row)).collect(),
        feedback: rows(&folder.join("ml-100k.inter")).iter().map(|row| movielens_rating(row)).collect(),
    }
}

/// Fields between tabs, without the header.
fn rows(path: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().skip(1).map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

fn movielens_user(row: &[String]) -> Value {
    let age: u32 = row[1].parse().unwrap();
    json!({
        "UserId": row[0], "Comment": "",
        "Labels": {"age": age, "gender": row[2], "occupation": row[3], "zip_code": row[4]},
    })
}

fn movielens_item(row: &[String]) -> Value {
    let (id, title, year) = (row[0].as_str(), &row[1], row[2].as_str());
    let dated = !year.is_empty() && year.bytes().all(|byte| byte.is_ascii_digit());
    let special = DATED.iter().find(|(item, _)| *item == id).map(|(_, date)| format!("{date}T00:00:00Z"));
    let usual = if dated { format!("{year}-01-01T00:00:00Z") } else { "1970-01-01T00:00:00Z".to_owned() };
    json!({
        "ItemId": id, "IsHidden": false, "Timestamp": special.unwrap_or(usual),
        "Categories": row[3].split_whitespace().collect::<Vec<_>>(),
        "Labels": {"embedding": embedding(id)},
        "Comment": if dated { format!("{title} ({year})") } else { title.clone() },
    })
}

fn embedding(id: &str) -> [f64; 4] {
    if let Some((_, x)) = NEAREST.iter().find(|(item, _)| *item == id) {
        return [*x, 0.0, 1.0, 0.0];
    }
    let number: u32 = id.parse().unwrap();
    [10.0 + f64::from(number % 41), 10.0 + f64::from(number / 41), f64::from(number % 7), 1.0]
}

fn movielens_rating(row: &[String]) -> Value {
    let (rating, seconds): (f64, i64) = (row[2].parse().unwrap(), row[3].parse().unwrap());
    json!({
        "FeedbackType": "rating", "UserId": row[0], "ItemId": row[1], "Value": rating,
        "Timestamp": Timestamp::from_unix_seconds(seconds), "Comment": "",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_taste_has_its_own_people_and_everybody_has_something_left_to_like() {
        let world = two_tastes();
        assert_eq!((world.users.len(), world.items.len()), (80, 80));
        for row in &world.feedback {
            let (user, item) = (row["UserId"].as_str().unwrap(), row["ItemId"].as_str().unwrap());
            assert_eq!(user.split('-').next(), item.split('-').next());
        }
        let likes = |user: &str| world.feedback.iter().filter(|row| row["UserId"] == user).count();
        assert!((20..35).contains(&likes("tea-user-3")), "{}", likes("tea-user-3"));
    }
}
