//! The folders of MovieLens: `ratings.csv` (`userId,movieId,rating,timestamp`), and if they are there `movies.csv`
//! (`movieId,title,genres`) and `tags.csv` (`userId,movieId,tag,timestamp`). The older sets with `ratings.dat` or `u.data` too.
//!
//! Tags are joined into the films they belong to, so the tags of all films are in memory while films are read.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use serde_json::Value;

use super::csv::{ColumnNames, Table};
use super::records::{self, Record, Records, Row, Source};
use super::{FeedbackDefaults, ImportError, Part, csv, folder, movielens_100k, movietweetings};

/// Most tags one film keeps: those that most people gave it.
const TAGS_PER_FILM: usize = 20;

/// Finds the files of a folder.
pub(super) fn parts(path: &Path, defaults: &FeedbackDefaults) -> Result<Vec<Part>, ImportError> {
    let Some(ratings) = folder::find(path, "ratings.csv") else {
        if folder::find(path, "ratings.dat").is_some() {
            return movietweetings::parts(path, defaults);
        }
        if let Some(parts) = movielens_100k::parts(path, defaults) {
            return Ok(parts);
        }
        return Err(ImportError::Missing {
            path: path.to_path_buf(),
            expected: "ratings.csv, ratings.dat or u.data, each also with .gz",
        });
    };
    let mut parts = Vec::new();
    if let Some(movies) = folder::find(path, "movies.csv") {
        let tags = folder::find(path, "tags.csv");
        parts.push(Part::new(&movies, move |source| films(source, &read_tags(tags.as_ref())?)));
    }
    let defaults = defaults.clone();
    parts.push(Part::new(&ratings, move |source| csv::records(source, &ColumnNames::movielens(), &defaults)));
    Ok(parts)
}

/// Film → tag → how many people gave it.
type Tags = HashMap<String, BTreeMap<String, u32>>;

fn read_tags(path: Option<&PathBuf>) -> io::Result<Tags> {
    let Some(path) = path else { return Ok(Tags::new()) };
    tags(records::open(path, Arc::new(AtomicU64::new(0)))?)
}

fn tags(source: Source) -> io::Result<Tags> {
    let mut table = Table::open(source, None)?;
    let (Some(movie), Some(tag)) = (table.column("movieId"), table.column("tag")) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "tags.csv has no columns movieId and tag"));
    };
    let mut tags = Tags::new();
    while let Some((_, fields)) = table.next()? {
        let Ok(fields) = fields else { continue };
        let (Some(movie), Some(tag)) = (fields.get(movie), fields.get(tag)) else { continue };
        let tag = tag.trim().to_lowercase();
        if !tag.is_empty() {
            *tags.entry(movie.to_owned()).or_default().entry(tag).or_default() += 1;
        }
    }
    Ok(tags)
}

/// The tags most people gave, then by name.
fn best_tags(tags: &BTreeMap<String, u32>) -> Vec<String> {
    let mut sorted: Vec<(&String, &u32)> = tags.iter().collect();
    sorted.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    sorted.into_iter().take(TAGS_PER_FILM).map(|(tag, _)| tag.clone()).collect()
}

fn films(source: Source, tags: &Tags) -> io::Result<Records> {
    let table = Table::open(source, None)?;
    let (Some(movie), Some(title)) = (table.column("movieId"), table.column("title")) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "movies.csv has no columns movieId and title",
        ));
    };
    let genres = table.column("genres");
    let tags: HashMap<String, Vec<String>> =
        tags.iter().map(|(movie, tags)| (movie.clone(), best_tags(tags))).collect();
    Ok(Box::new(table.map(move |next| {
        let (line, fields) = next?;
        let row = fields.and_then(|fields| {
            let field = |index: usize| fields.get(index).unwrap_or_default();
            let mut film = movietweetings::film(field(movie), field(title), genres.map_or("", field))?;
            if let (Some(tags), Value::Object(labels)) = (tags.get(field(movie)), &mut film.labels) {
                labels.insert("tags".to_owned(), Value::from(tags.clone()));
            }
            Ok(Row::Item(film))
        });
        Ok(Record { line, row })
    })))
}

#[cfg(test)]
mod tests {
    use super::super::records::testing::{all, text};
    use super::*;
    use serde_json::json;

    #[test]
    fn films_get_the_tags_that_people_gave_them() {
        let tags = tags(text(
            "userId,movieId,tag,timestamp\n1,1,Pixar,1\n2,1,pixar ,2\n3,1,\"fun, really\",3\n4,2,x,4\n",
        ));
        let movies = "movieId,title,genres\n1,Toy Story (1995),Animation|Comedy\n3,\"Odd, One\",(no genres listed)\n,x,y\n";
        let (rows, rejects) = all(films(text(movies), &tags.unwrap()).unwrap());
        let Row::Item(film) = &rows[0] else { panic!("{rows:?}") };
        let expected =
            json!({"genres": ["Animation", "Comedy"], "decade": "1990s", "tags": ["pixar", "fun, really"]});
        assert_eq!(film.labels, expected);
        let Row::Item(odd) = &rows[1] else { panic!("{rows:?}") };
        assert_eq!((odd.comment.as_str(), odd.categories.as_deref()), ("Odd, One", Some(&[][..])));
        assert_eq!(rejects, ["4: the movie id is empty"]);
    }
}
