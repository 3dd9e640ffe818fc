//! What the demonstration prints. Pure: answers go in, text comes out.

use std::fmt::Write as _;

use smol_str::SmolStr;
use ulex_domain::{Feedback, ItemId, Timestamp, UserId};

use super::shop::{DAYS, Person, Shop};

/// How many recommendations are shown.
pub const LIST_LENGTH: usize = 8;

/// Somebody the shop has never seen, for [`one_click`].
pub const VISITOR: &str = "you";

const COLUMN: usize = 34;

/// What has been made up.
#[must_use]
pub fn introduction(shop: &Shop) -> String {
    format!(
        "A synthetic shop (seed {}): {} people, {} articles in 12 departments, {} rows of feedback\n\
         (view, cart, buy) over {DAYS} days. Nobody and nothing in it is real.\n",
        shop.seed,
        shop.users.len(),
        shop.items.len(),
        shop.feedback.len()
    )
}

/// Three people with different tastes, what they did last and what they are shown, side by side.
///
/// # Errors
///
/// Whatever `recommend` fails with.
pub fn three_tastes<E>(
    shop: &Shop,
    mut recommend: impl FnMut(&UserId, usize) -> Result<Vec<ItemId>, E>,
) -> Result<String, E> {
    let mut columns = Vec::new();
    for person in &shop.people {
        let list = recommend(&person.user_id, LIST_LENGTH)?;
        columns.push(column(shop, person, &list));
    }
    Ok(side_by_side(&columns))
}

fn column(shop: &Shop, person: &Person, list: &[ItemId]) -> Vec<String> {
    let mut lines =
        vec![format!("{}", person.user_id), person.tastes.join(", "), String::new(), "last seen".to_owned()];
    lines.extend(shop.recent(&person.user_id, 4).iter().map(|item| format!("  {}", labelled(shop, item))));
    lines.extend([String::new(), "recommended now".to_owned()]);
    lines.extend(numbered(shop, list));
    let hits = list.iter().filter(|item| person.tastes.contains(&shop.department(item))).count();
    lines.extend([String::new(), format!("{hits} of {} from what they like", list.len())]);
    lines
}

fn labelled(shop: &Shop, item: &ItemId) -> String {
    format!("{item} ({})", shop.department(item))
}

fn numbered(shop: &Shop, list: &[ItemId]) -> Vec<String> {
    (1..).zip(list).map(|(place, item): (usize, _)| format!("{place:>2} {}", labelled(shop, item))).collect()
}

/// Columns of lines as a table; a line that is too long is cut.
#[must_use]
pub fn side_by_side(columns: &[Vec<String>]) -> String {
    let rule = |left: char, middle: char, right: char| {
        let bar = "─".repeat(COLUMN + 2);
        let bars: Vec<&str> = columns.iter().map(|_| bar.as_str()).collect();
        format!("{left}{}{right}\n", bars.join(&middle.to_string()))
    };
    let height = columns.iter().map(Vec::len).max().unwrap_or(0);
    let mut table = rule('┌', '┬', '┐');
    for row in 0..height {
        for column in columns {
            let text: String = column.get(row).map_or("", String::as_str).chars().take(COLUMN).collect();
            let _ = write!(table, "│ {text:<COLUMN$} ");
        }
        table.push_str("│\n");
    }
    table + &rule('└', '┴', '┘')
}

/// A visitor nobody knows gets the shop's favourites, buys two articles, and the very next answer is another one.
///
/// # Errors
///
/// Whatever `recommend` or `click` fails with.
pub fn one_click<E>(
    shop: &Shop,
    now: Timestamp,
    mut recommend: impl FnMut(&UserId, usize) -> Result<Vec<ItemId>, E>,
    mut click: impl FnMut(Feedback) -> Result<(), E>,
) -> Result<String, E> {
    let visitor = UserId::new(VISITOR);
    let before = recommend(&visitor, LIST_LENGTH)?;
    let bought = articles_to_buy(shop);
    for item in &bought {
        click(purchase(&visitor, item, now))?;
    }
    let after = recommend(&visitor, LIST_LENGTH)?;
    Ok(change(shop, &before, &bought, &after))
}

/// Two articles that somebody with a clear taste bought.
fn articles_to_buy(shop: &Shop) -> Vec<ItemId> {
    let Some(person) = shop.people.get(1) else { return Vec::new() };
    let mut bought: Vec<ItemId> = Vec::new();
    for row in shop.feedback.iter().rev().filter(|row| row.user_id == person.user_id) {
        let new = shop.department(&row.item_id) == person.tastes[0] && !bought.contains(&row.item_id);
        if new && bought.len() < 2 {
            bought.push(row.item_id.clone());
        }
    }
    bought
}

fn purchase(user: &UserId, item: &ItemId, now: Timestamp) -> Feedback {
    Feedback {
        feedback_type: SmolStr::new_static("buy"),
        user_id: user.clone(),
        item_id: item.clone(),
        value: 1.0,
        timestamp: now,
        updated: now,
        labels: serde_json::Value::Null,
        comment: String::new(),
    }
}

/// Two lists of one user side by side, and what happened between them. Articles marked `+` are new.
#[must_use]
pub fn change(shop: &Shop, before: &[ItemId], bought: &[ItemId], after: &[ItemId]) -> String {
    let mut left = vec!["before: nobody knows you".to_owned()];
    left.resize(bought.len() + 2, String::new());
    left.extend(numbered(shop, before));
    let mut right = vec!["after you bought".to_owned()];
    right.extend(bought.iter().map(|item| format!("  {}", labelled(shop, item))));
    right.push(String::new());
    right.extend(numbered(shop, after).into_iter().zip(after).map(|(line, item)| {
        let mark = if before.contains(item) { ' ' } else { '+' };
        format!("{mark}{line}")
    }));
    let new = after.iter().filter(|item| !before.contains(item)).count();
    let again = after.iter().filter(|item| bought.contains(item)).count();
    let mut text = side_by_side(&[left, right]);
    let _ = writeln!(
        text,
        "{new} of {} are new, {again} were bought already. No training ran in between.",
        after.len()
    );
    text
}

/// Commands to go on with.
#[must_use]
pub fn what_next(shop: &Shop, base_url: &str) -> String {
    let person = shop.people.first().map_or(VISITOR, |person| person.user_id.as_str());
    let item = shop.people.first().and_then(|person| shop.recent(&person.user_id, 1).pop());
    let item = item.map_or_else(|| "tent-001".to_owned(), |item| item.to_string());
    format!(
        "Try next:\n\
         \n  # five things for {person}, and only from one department\
         \n  curl '{base_url}/api/recommend/{person}?n=5'\
         \n  curl '{base_url}/api/recommend/{person}?n=5&category=camping'\n\
         \n  # what is like {item}\
         \n  curl '{base_url}/api/item/{item}/neighbors?n=5'\n\
         \n  # somebody new looks at a tent; their next list knows\
         \n  curl -X POST '{base_url}/api/feedback' -H 'Content-Type: application/json' \\\
         \n    -d '[{{\"FeedbackType\":\"view\",\"UserId\":\"zoe\",\"ItemId\":\"tent-001\",\"Value\":1}}]'\
         \n  curl '{base_url}/api/recommend/zoe?n=5'\n\
         \n  # is everything well\
         \n  curl '{base_url}/api/health/ready'\n"
    )
}

#[cfg(test)]
mod tests {
    use super::super::shop::testing::{NOW, SHOP};
    use super::*;
    use std::cell::RefCell;
    use std::convert::Infallible;

    /// Everybody gets the articles of the department of their last event.
    fn same_department(shop: &Shop, user: &UserId, n: usize) -> Vec<ItemId> {
        let department = shop.recent(user, 1).pop().map_or("lighting", |item| shop.department(&item));
        let ids = shop.items.iter().map(|item| item.item_id.clone());
        ids.filter(|item| shop.department(item) == department).take(n).collect()
    }

    #[test]
    fn the_introduction_says_that_nothing_is_real() {
        let text = introduction(&SHOP);
        assert!(
            text.contains("synthetic") && text.contains("seed 1") && text.contains("2000 people"),
            "{text}"
        );
    }

    #[test]
    fn three_people_stand_side_by_side_with_what_they_like() {
        let shop = &*SHOP;
        let text = three_tastes(shop, |user, n| Ok::<_, Infallible>(same_department(shop, user, n))).unwrap();
        for person in &shop.people {
            assert!(text.contains(person.user_id.as_str()), "{text}");
        }
        assert!(text.contains(" 8 "), "{text}");
        let widths: Vec<usize> = text.lines().map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|&width| width == widths[0]), "{text}");
    }

    #[test]
    fn a_click_is_posted_between_the_two_lists() {
        let shop = &*SHOP;
        let clicks = RefCell::new(Vec::new());
        let recommend = |_user: &UserId, n: usize| {
            let skip = if clicks.borrow().is_empty() { 0 } else { 4 };
            Ok::<_, Infallible>(
                shop.items.iter().skip(skip).take(n).map(|item| item.item_id.clone()).collect(),
            )
        };
        let click = |row: Feedback| {
            clicks.borrow_mut().push(row);
            Ok(())
        };
        let text = one_click(shop, NOW, recommend, click).unwrap();
        assert_eq!(clicks.borrow().len(), 2);
        assert!(
            clicks.borrow().iter().all(|row| row.user_id.as_str() == VISITOR && row.feedback_type == "buy")
        );
        assert!(text.contains("4 of 8 are new, 0 were bought already"), "{text}");
        assert!(text.contains("+ 8 "), "{text}");
    }

    #[test]
    fn failures_of_the_server_come_through() {
        let shop = &*SHOP;
        let fails = |_: &UserId, _: usize| Err("down");
        assert_eq!(three_tastes(shop, fails), Err("down"));
        assert_eq!(one_click(shop, NOW, fails, |_| Ok(())), Err("down"));
    }

    #[test]
    fn the_commands_name_things_that_exist() {
        let shop = &*SHOP;
        let text = what_next(shop, "http://127.0.0.1:8088");
        assert!(text.contains("-d '[{\"FeedbackType\""), "{text}");
        assert!(shop.items.iter().any(|item| item.item_id.as_str() == "tent-001"));
        assert_eq!(text.matches("http://127.0.0.1:8088/api/").count(), 6, "{text}");
    }

    #[test]
    fn the_configuration_is_toml_with_the_port() {
        let text = super::super::configuration(9000);
        assert!(text.contains("http_port = 9000") && text.contains("\"buy\", \"cart\", \"view\""));
    }
}
