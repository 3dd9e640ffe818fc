//! Item search: every item keeps the set of its words, which one index serves.
//!
//! Words are made here and not by the server, so that all backends find the same items whatever the server's
//! dictionaries. What `set_search_columns` defines is kept in the tables, so that every process that writes
//! an item makes the same words of it; items that were there before are indexed in small steps, between which
//! others write.

use ulex_domain::Item;

use super::connections::from_pool;
use super::decode;
use super::error::PostgresError;
use super::migrate::{LOCK, with_prefix};
use super::statements::LOCK_SQL;
use crate::data::search_text::{SearchText, query_words, words};
use deadpool_postgres::{Pool, Transaction};

/// Items indexed in one step.
const STEP: i64 = 500;
/// A longer word is cut off, in items as in queries: the server takes words of up to 2,046 bytes.
const LONGEST_WORD: usize = 255;
/// Of an item so many bytes of words are searchable: the server keeps up to a mebibyte.
const LONGEST_LIST: usize = 1 << 18;

/// The words of an item, each once, with a blank between them; `None` if it has none.
pub(super) fn word_list(text: &SearchText, item: &Item) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    let mut distinct = std::collections::HashSet::new();
    let mut list = String::new();
    for word in words(&text.of(item)) {
        let word = cut(&word).to_owned();
        if list.len() + word.len() >= LONGEST_LIST {
            break;
        }
        if distinct.contains(&word) {
            continue;
        }
        if !list.is_empty() {
            list.push(' ');
        }
        list.push_str(&word);
        distinct.insert(word);
    }
    (!list.is_empty()).then_some(list)
}

fn cut(word: &str) -> &str {
    &word[..word.floor_char_boundary(LONGEST_WORD)]
}

/// Any of the words of a query, as the server's `tsquery` is written; `None` if it has none.
pub(super) fn any_word(query: &str) -> Option<String> {
    // Words hold neither apostrophes nor backslashes: both are punctuation.
    let words: Vec<_> = query_words(query).iter().map(|word| format!("'{}'", cut(word))).collect();
    (!words.is_empty()).then(|| words.join(" | "))
}

/// Makes `text` the definition and indexes what is there. Goes on with what another process began.
pub(super) async fn define(pool: &Pool, prefix: &str, text: &SearchText) -> Result<(), PostgresError> {
    let names = text.names().join(" ");
    let mut client = from_pool(pool).await?;
    let transaction = begin(&mut client, prefix).await?;
    if meta(&transaction, prefix, "search_columns").await?.unwrap_or_default() != names {
        set_meta(&transaction, prefix, "search_columns", Some(&names)).await?;
        set_meta(&transaction, prefix, "search_next", Some(&i64::MIN.to_string())).await?;
    }
    transaction.commit().await?;
    loop {
        let transaction = begin(&mut client, prefix).await?;
        let is_done = step(&transaction, prefix, text).await?;
        transaction.commit().await?;
        if is_done {
            return Ok(());
        }
    }
}

/// A transaction while no other writer has one.
async fn begin<'client>(
    client: &'client mut deadpool_postgres::Object,
    prefix: &str,
) -> Result<Transaction<'client>, PostgresError> {
    let transaction = client.transaction().await?;
    transaction.batch_execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off").await?;
    let lock = with_prefix(&LOCK_SQL.replace("{lock}", &LOCK.to_string()), prefix);
    transaction.execute(&lock, &[]).await?;
    Ok(transaction)
}

/// Indexes the next few items; says whether those were the last.
async fn step(transaction: &Transaction<'_>, prefix: &str, text: &SearchText) -> Result<bool, PostgresError> {
    let names = meta(transaction, prefix, "search_columns").await?.unwrap_or_default();
    let next = meta(transaction, prefix, "search_next").await?.and_then(|next| next.parse::<i64>().ok());
    let (Some(next), true) = (next, names == text.names().join(" ")) else {
        // Nothing is left to do, or somebody has defined something else meanwhile and does that.
        return Ok(true);
    };
    let select = r#"SELECT item_id, is_hidden, categories, time, labels, comment, no FROM "{p}items"
        WHERE no >= $1 ORDER BY no LIMIT $2"#;
    let rows = transaction.query(&with_prefix(select, prefix), &[&next, &STEP]).await?;
    let items = rows.iter().map(decode::item).collect::<Result<Vec<_>, _>>()?;
    let numbers = rows.iter().map(|row| row.try_get(6)).collect::<Result<Vec<i64>, _>>()?;
    let lists: Vec<_> = items.iter().map(|item| word_list(text, item)).collect();
    let update = r#"UPDATE "{p}items" i SET search = array_to_tsvector(string_to_array(n.words, ' '))
        FROM unnest($1::bigint[], $2::text[]) AS n (no, words) WHERE i.no = n.no"#;
    transaction.execute(&with_prefix(update, prefix), &[&numbers, &lists]).await?;
    let is_last = rows.len() < usize::try_from(STEP).unwrap_or_default();
    let next = numbers.last().filter(|_last| !is_last).map(|last| (last + 1).to_string());
    set_meta(transaction, prefix, "search_next", next.as_deref()).await?;
    Ok(is_last)
}

async fn meta(
    transaction: &Transaction<'_>,
    prefix: &str,
    key: &str,
) -> Result<Option<String>, PostgresError> {
    let sql = with_prefix(r#"SELECT value FROM "{p}meta" WHERE key = $1"#, prefix);
    Ok(transaction.query_opt(&sql, &[&key]).await?.map(|row| row.try_get(0)).transpose()?)
}

async fn set_meta(
    transaction: &Transaction<'_>,
    prefix: &str,
    key: &str,
    value: Option<&str>,
) -> Result<(), PostgresError> {
    let put =
        r#"INSERT INTO "{p}meta" VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value"#;
    match value {
        Some(value) => transaction.execute(&with_prefix(put, prefix), &[&key, &value]).await?,
        None => {
            let delete = with_prefix(r#"DELETE FROM "{p}meta" WHERE key = $1"#, prefix);
            transaction.execute(&delete, &[&key]).await?
        }
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use ulex_domain::ItemId;

    use super::*;

    fn listed(comment: &str) -> Option<String> {
        let item = Item { comment: comment.to_owned(), ..Item::bare(ItemId::new("i")) };
        word_list(&SearchText::of_columns(&["item.Comment"]), &item)
    }

    #[test]
    fn each_word_is_listed_once() {
        assert_eq!(listed("A film, a quiet film").as_deref(), Some("a film quiet"));
        assert_eq!(listed(" - ' "), None);
        assert_eq!(word_list(&SearchText::default(), &Item::bare(ItemId::new("film"))), None);
    }

    #[test]
    fn what_the_server_would_refuse_is_cut_off() {
        let long = "é".repeat(5_000);
        let list = listed(&long).unwrap();
        assert!(list.len() <= LONGEST_WORD && long.starts_with(&list));
        assert_eq!(any_word(&long), Some(format!("'{list}'")), "and found by the whole word");
        let many = (0..100_000).map(|word| format!("word{word} ")).collect::<String>();
        assert!(listed(&many).unwrap().len() <= LONGEST_LIST);
    }

    #[test]
    fn a_query_asks_for_any_of_its_words_and_for_nothing_else() {
        assert_eq!(any_word("it's (a | 'b' & !c:*\\)").as_deref(), Some("'it' | 's' | 'a' | 'b' | 'c'"));
        assert_eq!(any_word(" *!& "), None);
    }
}
