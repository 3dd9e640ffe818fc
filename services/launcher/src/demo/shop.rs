//! A synthetic shop: invented people, articles and purchases, the same for the same seed.
//!
//! Made so that a recommender has something to find, and so that a person can judge what it found:
//! - each person has a main department, a second and a third, and in each favourite brand and kinds of articles;
//! - within a department a few articles are popular and most are not (Zipf);
//! - a third of the people change their main department at some moment of the 90 days;
//! - some articles come out during these days and are in fashion at first.
//!
//! Feedback is `view`, sometimes followed by `cart`, sometimes followed by `buy`.

use std::collections::HashMap;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use smol_str::SmolStr;
use ulex_domain::{Feedback, FeedbackKey, Item, ItemId, Timestamp, User, UserId};

use super::catalogue::{AGE_GROUPS, CITIES, COLOURS, DEPARTMENTS, Department, NAMES};

/// Number of people.
pub const N_USERS: usize = 2000;

/// Articles of each kind.
const ITEMS_PER_KIND: usize = 25;

/// Length of the story.
pub const DAYS: i64 = 90;

const NANOS_PER_MINUTE: i64 = 60 * 1_000_000_000;
const NANOS_PER_DAY: i64 = 24 * 60 * NANOS_PER_MINUTE;

/// Shares of a session's department: main, second, third; the rest is anything.
const MIXTURE: [f64; 3] = [0.62, 0.22, 0.10];

/// The shop and what happened in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Shop {
    /// The people.
    pub users: Vec<User>,
    /// The articles.
    pub items: Vec<Item>,
    /// What the people did, by time.
    pub feedback: Vec<Feedback>,
    /// Three people with different tastes, to be shown.
    pub people: Vec<Person>,
    /// What the shop was made from.
    pub seed: u64,
}

/// Somebody to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Who.
    pub user_id: UserId,
    /// Favourite departments, most liked first.
    pub tastes: Vec<&'static str>,
}

impl Shop {
    /// The department of an article.
    #[must_use]
    pub fn department(&self, item: &ItemId) -> &str {
        let found = self.items.iter().find(|candidate| candidate.item_id == *item);
        let categories = found.and_then(|item| item.categories.as_ref());
        categories.and_then(|categories| categories.first()).map_or("unknown", String::as_str)
    }

    /// What somebody looked at, carted or bought last, latest first, each article once.
    #[must_use]
    pub fn recent(&self, user: &UserId, n: usize) -> Vec<ItemId> {
        let mut recent: Vec<ItemId> = Vec::new();
        for row in self.feedback.iter().rev().filter(|row| row.user_id == *user) {
            if recent.len() < n && !recent.contains(&row.item_id) {
                recent.push(row.item_id.clone());
            }
        }
        recent
    }
}

/// Makes the shop. Its last events happen shortly before `now`.
#[must_use]
pub fn generate(seed: u64, now: Timestamp) -> Shop {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let articles = articles(&mut random, now);
    let customers: Vec<Customer> = (0..N_USERS).map(|index| customer(index, &mut random)).collect();
    let mut feedback = Ledger::default();
    for customer in &customers {
        for _ in 0..customer.sessions {
            session(customer, &articles, now, &mut random, &mut feedback);
        }
    }
    let feedback = feedback.into_rows();
    let people = people(&customers, &articles, &feedback);
    Shop {
        users: customers.into_iter().map(|customer| customer.user).collect(),
        items: articles.into_iter().flatten().map(|article| article.item).collect(),
        feedback,
        people,
        seed,
    }
}

/// An article and what makes people choose it.
struct Article {
    item: Item,
    kind: usize,
    brand: usize,
    popularity: f64,
}

/// All articles by department.
fn articles(random: &mut ChaCha8Rng, now: Timestamp) -> Vec<Vec<Article>> {
    let shelf = |department: &Department| {
        let ranks = shuffled(department.kinds.len() * ITEMS_PER_KIND, random);
        let places = ranks.into_iter().enumerate();
        places.map(|(position, rank)| article(department, position, rank, (random, now))).collect()
    };
    DEPARTMENTS.iter().map(shelf).collect()
}

fn article(
    shelf: &Department,
    position: usize,
    rank: usize,
    (random, now): (&mut ChaCha8Rng, Timestamp),
) -> Article {
    let (kind, brand) = (position / ITEMS_PER_KIND, random.random_range(0..shelf.brands.len()));
    let (colour, first_tag) = (COLOURS[random.random_range(0..COLOURS.len())], random.random_range(0..5));
    let second_tag = (first_tag + random.random_range(1..5)) % 5;
    let (low, high) = shelf.prices;
    let spread: f64 = random.random_range(0.0..1.0);
    // Squared, because cheap articles are more frequent than dear ones.
    let price = ((low + (high - low) * spread * spread) * 10.0).round() / 10.0;
    let age_days = if random.random_bool(0.15) {
        random.random_range(2..DAYS - 2)
    } else {
        random.random_range(DAYS..DAYS + 700)
    };
    let name = shelf.kinds[kind].replace('-', " ");
    let item = Item {
        item_id: ItemId::new(format!("{}-{:03}", shelf.kinds[kind], position % ITEMS_PER_KIND + 1)),
        is_hidden: false,
        categories: Some(vec![shelf.name.to_owned()]),
        timestamp: now.plus_nanos(-age_days * NANOS_PER_DAY),
        labels: json!({
            "brand": shelf.brands[brand],
            "colour": colour,
            "price": price,
            "tags": [shelf.tags[first_tag], shelf.tags[second_tag]],
        }),
        comment: format!("{name}, {colour}, by {}", shelf.brands[brand]),
    };
    Article { item, kind, brand, popularity: 1.0 / (rank as f64 + 3.0) }
}

/// Somebody and what decides what they look at.
struct Customer {
    user: User,
    /// Departments, most liked first.
    tastes: [usize; 3],
    /// From this day on the main department is another one.
    change: Option<(i64, usize)>,
    brand: [usize; DEPARTMENTS.len()],
    kinds: [[usize; 2]; DEPARTMENTS.len()],
    sessions: u32,
}

fn customer(index: usize, random: &mut ChaCha8Rng) -> Customer {
    let order = shuffled(DEPARTMENTS.len(), random);
    let change = random.random_bool(0.3).then(|| (random.random_range(20..DAYS - 10), order[3]));
    let age = AGE_GROUPS[random.random_range(0..AGE_GROUPS.len())];
    let city = CITIES[random.random_range(0..CITIES.len())];
    let user = User {
        user_id: UserId::new(format!("{}-{:04}", NAMES[index % NAMES.len()], index + 1)),
        labels: json!({"age_group": age, "city": city}),
        comment: String::new(),
    };
    // A few people come very often: 2 / u with u uniform has the heavy tail of real shops.
    let uniform: f64 = random.random_range(0.05..1.0);
    Customer {
        user,
        tastes: [order[0], order[1], order[2]],
        change,
        brand: std::array::from_fn(|_| random.random_range(0..4)),
        kinds: std::array::from_fn(|_| [random.random_range(0..5), random.random_range(0..5)]),
        sessions: 3 + (2.0 / uniform) as u32,
    }
}

impl Customer {
    fn department(&self, day: i64, random: &mut ChaCha8Rng) -> usize {
        let mut draw: f64 = random.random_range(0.0..1.0);
        for (place, share) in MIXTURE.into_iter().enumerate() {
            if draw < share {
                return match self.change {
                    Some((changed, now)) if place == 0 && day >= changed => now,
                    Some(_) | None => self.tastes[place],
                };
            }
            draw -= share;
        }
        random.random_range(0..DEPARTMENTS.len())
    }

    fn likes(&self, department: usize, article: &Article) -> f64 {
        let brand = if self.brand[department] == article.brand { 4.0 } else { 1.0 };
        let kind = if self.kinds[department].contains(&article.kind) { 3.0 } else { 1.0 };
        brand * kind
    }
}

/// One visit: a few articles of one department.
fn session(
    customer: &Customer,
    articles: &[Vec<Article>],
    now: Timestamp,
    random: &mut ChaCha8Rng,
    feedback: &mut Ledger,
) {
    let minutes_ago = random.random_range(60..DAYS * 24 * 60);
    let start = now.plus_nanos(-minutes_ago * NANOS_PER_MINUTE);
    let department = customer.department(DAYS - 1 - minutes_ago / (24 * 60), random);
    let shelf = &articles[department];
    let weights: Vec<f64> = shelf.iter().map(|article| wish(customer, department, article, start)).collect();
    for view in 0..random.random_range(2..7_i64) {
        let Some(chosen) = draw(&weights, random) else { return };
        let seen = start.plus_nanos(view * 2 * NANOS_PER_MINUTE);
        let (user, item) = (&customer.user.user_id, &shelf[chosen].item.item_id);
        feedback.add("view", user, item, seen);
        let liked = customer.likes(department, &shelf[chosen]) > 1.0;
        if random.random_bool(if liked { 0.3 } else { 0.08 }) {
            feedback.add("cart", user, item, seen.plus_nanos(NANOS_PER_MINUTE));
            if random.random_bool(0.55) {
                feedback.add("buy", user, item, seen.plus_nanos(40 * NANOS_PER_MINUTE));
            }
        }
    }
}

/// How much somebody is drawn to an article at a moment; 0 before it is out, more than usual in its first two weeks.
fn wish(customer: &Customer, department: usize, article: &Article, at: Timestamp) -> f64 {
    if article.item.timestamp > at {
        return 0.0;
    }
    let fresh = article.item.timestamp.plus_nanos(14 * NANOS_PER_DAY) > at;
    article.popularity * customer.likes(department, article) * if fresh { 3.0 } else { 1.0 }
}

/// An index with a chance proportional to its weight; nothing if all weights are 0.
fn draw(weights: &[f64], random: &mut ChaCha8Rng) -> Option<usize> {
    let total: f64 = weights.iter().sum();
    if total <= 0.0 {
        return None;
    }
    let mut rest = random.random_range(0.0..total);
    for (index, weight) in weights.iter().enumerate() {
        rest -= weight;
        if rest < 0.0 {
            return Some(index);
        }
    }
    weights.iter().rposition(|&weight| weight > 0.0)
}

fn shuffled(n: usize, random: &mut ChaCha8Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    for index in (1..n).rev() {
        order.swap(index, random.random_range(0..index + 1));
    }
    order
}

/// Feedback by key, accumulated as a store would.
#[derive(Default)]
struct Ledger(HashMap<FeedbackKey, Feedback>);

impl Ledger {
    fn add(&mut self, feedback_type: &'static str, user: &UserId, item: &ItemId, timestamp: Timestamp) {
        let row = Feedback {
            feedback_type: SmolStr::new_static(feedback_type),
            user_id: user.clone(),
            item_id: item.clone(),
            value: 1.0,
            timestamp,
            updated: timestamp,
            labels: serde_json::Value::Null,
            comment: String::new(),
        };
        match self.0.entry(row.key()) {
            std::collections::hash_map::Entry::Occupied(mut there) => there.get_mut().accumulate(row),
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(row);
            }
        }
    }

    fn into_rows(self) -> Vec<Feedback> {
        let mut rows: Vec<Feedback> = self.0.into_values().collect();
        rows.sort_by_cached_key(|row| (row.updated, row.key()));
        rows
    }
}

/// Three people of different main departments, busy but not too busy, with a taste one can see.
fn people(customers: &[Customer], articles: &[Vec<Article>], feedback: &[Feedback]) -> Vec<Person> {
    let shelves = articles.iter().enumerate();
    let department: HashMap<&ItemId, usize> = shelves
        .flat_map(|(place, shelf)| shelf.iter().map(move |article| (&article.item.item_id, place)))
        .collect();
    let mut views: HashMap<&UserId, [usize; DEPARTMENTS.len()]> = HashMap::new();
    for row in feedback.iter().filter(|row| row.feedback_type == "view") {
        views.entry(&row.user_id).or_default()[department[&row.item_id]] += 1;
    }
    // Three quarters of the views in the main department: a clear taste, and room for the others.
    let clarity = |customer: &&Customer| {
        let counts = views.get(&customer.user.user_id).copied().unwrap_or_default();
        let all: usize = counts.iter().sum();
        let settled = customer.change.is_none() && (20..=60).contains(&all);
        if settled { 1000 - (counts[customer.tastes[0]] * 1000 / all).abs_diff(750) } else { 0 }
    };
    let name = |department: usize| DEPARTMENTS[department].name;
    let person = |customer: &Customer| Person {
        user_id: customer.user.user_id.clone(),
        tastes: customer.tastes.into_iter().map(name).collect(),
    };
    let mains = ["cycling", "coffee", "photography"];
    let clearest = mains.map(|main| {
        customers.iter().filter(|customer| name(customer.tastes[0]) == main).max_by_key(clarity).map(person)
    });
    clearest.into_iter().flatten().collect()
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use std::sync::LazyLock;

    pub const NOW: Timestamp = Timestamp::from_unix_seconds(1_750_000_000);

    /// Made once for all tests.
    pub static SHOP: LazyLock<Shop> = LazyLock::new(|| generate(1, NOW));
}

#[cfg(test)]
mod tests {
    use super::testing::{NOW, SHOP};
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_same_seed_makes_the_same_shop_and_another_seed_another() {
        let shop = &*SHOP;
        assert_eq!(*shop, generate(1, NOW));
        assert_ne!(shop.feedback, generate(2, NOW).feedback);
    }

    #[test]
    fn the_shop_has_the_size_it_promises_and_every_reference_holds() {
        let shop = &*SHOP;
        assert_eq!((shop.users.len(), shop.items.len()), (N_USERS, 1500));
        assert!((60_000..150_000).contains(&shop.feedback.len()), "{} rows", shop.feedback.len());
        let users: HashSet<&UserId> = shop.users.iter().map(|user| &user.user_id).collect();
        let items: HashMap<&ItemId, &Item> = shop.items.iter().map(|item| (&item.item_id, item)).collect();
        assert_eq!((users.len(), items.len()), (N_USERS, 1500), "ids are unique");
        let begin = NOW.plus_nanos(-DAYS * NANOS_PER_DAY);
        for row in &shop.feedback {
            assert!(users.contains(&row.user_id));
            assert!(
                items[&row.item_id].timestamp <= row.timestamp,
                "nobody sees an article before it is out"
            );
            assert!(begin <= row.timestamp && row.updated <= NOW, "{}", row.timestamp);
        }
        assert!(shop.feedback.is_sorted_by_key(|row| row.updated));
    }

    #[test]
    fn people_mostly_visit_their_departments_and_few_articles_get_most_views() {
        let shop = &*SHOP;
        assert_eq!(shop.people.len(), 3);
        let department: HashMap<&ItemId, &str> =
            shop.items.iter().map(|item| (&item.item_id, shop.department(&item.item_id))).collect();
        for person in &shop.people {
            let rows: Vec<&Feedback> =
                shop.feedback.iter().filter(|row| row.user_id == person.user_id).collect();
            let liked = rows.iter().filter(|row| person.tastes.contains(&department[&row.item_id])).count();
            assert!(liked * 10 > rows.len() * 7, "{person:?}: {liked} of {}", rows.len());
        }
        let mut views: HashMap<&ItemId, usize> = HashMap::new();
        for row in &shop.feedback {
            *views.entry(&row.item_id).or_default() += 1;
        }
        let mut counts: Vec<usize> = views.into_values().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let top: usize = counts.iter().take(150).sum();
        assert!(
            top * 3 > shop.feedback.len(),
            "a tenth of the articles has {top} of {}",
            shop.feedback.len()
        );
    }

    #[test]
    fn recent_articles_are_distinct_and_latest_first() {
        let shop = &*SHOP;
        let person = &shop.people[0].user_id;
        let recent = shop.recent(person, 5);
        assert_eq!(recent.len(), 5);
        assert_eq!(recent.iter().collect::<HashSet<_>>().len(), 5);
        let last = shop.feedback.iter().rfind(|row| row.user_id == *person).unwrap();
        assert_eq!(recent[0], last.item_id);
    }
}
