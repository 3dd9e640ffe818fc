//! A small world for tests: items and users of two tastes, red and blue, and models fitted on what they like.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ulex_algorithms::dictionary::Dictionary;
use ulex_algorithms::interactions::Interactions;
use ulex_algorithms::matrix_factorization::implicit_als::AlsParams;
use ulex_algorithms::matrix_factorization::linear::LinearParams;
use ulex_algorithms::model_set::{
    Collaborative, Factors, ItemNeighbors, Leaderboard, Manifest, ModelSet, UserNeighbors,
};
use ulex_algorithms::progress::CancelFlag;
use ulex_algorithms::random::Seed;
use ulex_algorithms::similarity::{KnnParams, OverlapIndex, OverlapParams};
use ulex_domain::{Change, Command, Feedback, FeedbackMode, Item, ItemId, Timestamp, UserId};
use ulex_settings::Settings;
use ulex_storage::cache::{CacheStore, MemoryCache};
use ulex_storage::data::{DataStore, Submission};

use crate::history::FeedbackTypes;
use crate::plan::{Plan, Source};
use crate::request::ListQuery;
use crate::service::Recommender;
use crate::unsteady_store::UnsteadyStore;

/// Users of each taste: `red-fan-0` and so on.
pub const FANS: u32 = 20;
/// Items of each taste: `red-0` and so on. The higher the number, the newer.
pub const ITEMS: u32 = 20;

pub fn seconds(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

/// Index of an item: all red ones, then all blue ones.
pub fn item_id(index: u32) -> String {
    if index < ITEMS { format!("red-{index}") } else { format!("blue-{}", index - ITEMS) }
}

/// What the fans like: about two thirds of the first 15 items of their taste; the rest nobody likes.
pub fn likes() -> Interactions {
    let mut random = Seed::new(9).generator();
    let mut triples = Vec::new();
    for user in 0..2 * FANS {
        for item in 0..15 {
            if random.unit() < 0.66 {
                triples.push((user, user / FANS * ITEMS + item, 1.0));
            }
        }
    }
    Interactions::from_triples(2 * FANS as usize, 2 * ITEMS as usize, triples)
}

/// Every kind of model; no ranker, no blend.
pub fn model_set() -> ModelSet {
    static FITTED: LazyLock<ModelSet> = LazyLock::new(fitted);
    FITTED.clone()
}

fn fitted() -> ModelSet {
    let liked = likes();
    let (mut users, mut items) = (Dictionary::default(), Dictionary::default());
    for taste in ["red", "blue"] {
        (0..FANS).for_each(|user| _ = users.intern(&format!("{taste}-fan-{user}")));
    }
    (0..2 * ITEMS).for_each(|item| _ = items.intern(&item_id(item)));
    let als = AlsParams { factors: 4, ..AlsParams::default() };
    let model = als.check().unwrap().fit(&liked, &CancelFlag::default()).unwrap();
    let ease = LinearParams { regularization: 5.0, ..LinearParams::default() };
    let ease = ease.check().unwrap().fit(&liked).unwrap();
    let overlap = OverlapIndex::new(&liked, OverlapParams::COSINE);
    let mut counts = vec![0; items.len()];
    liked.columns().iter().for_each(|&item| counts[item as usize] += 1);
    let mut popular: Vec<(u32, f64)> = (0..).zip(counts.iter().map(|&count| f64::from(count))).collect();
    popular.sort_by(|a, b| b.1.total_cmp(&a.1));
    ModelSet {
        manifest: Manifest { id: "first".to_owned(), ..Manifest::default() },
        users,
        items,
        item_to_item: vec![ItemNeighbors {
            name: "also".to_owned(),
            neighbors: Arc::new(KnnParams::default().neighbors(&liked.transposed())),
            recall: None,
        }],
        popularity_discount: 0.0,
        discounted: liked.clone(),
        user_to_user: vec![UserNeighbors {
            name: "similar".to_owned(),
            neighbors: Arc::new(overlap.neighbors(&liked)),
            by_items: true,
        }],
        overlap,
        liked,
        collaborative: vec![
            Collaborative::Factors(Factors::new("als", model, als.objective).unwrap()),
            Collaborative::Linear(ease),
        ],
        leaderboards: vec![Leaderboard { name: "popular".to_owned(), entries: popular }],
        ranker: None,
        blend: None,
    }
}

/// All sources, ranked, lists of 10; `like`, `dislike` and `read` mean what they say.
pub fn plan() -> Plan {
    static PLAN: LazyLock<Plan> = LazyLock::new(planned);
    PLAN.clone()
}

fn planned() -> Plan {
    let filter = |name: &str| vec![name.parse().unwrap()];
    Plan {
        sources: vec![
            Source::Collaborative,
            Source::ItemToItem("also".to_owned()),
            Source::UserToUser("similar".to_owned()),
            Source::Leaderboard("popular".to_owned()),
            Source::Latest,
        ],
        fallback: vec![Source::Leaderboard("popular".to_owned())],
        ranked: true,
        collaborative: true,
        item_to_item: vec!["also".to_owned()],
        user_to_user: vec!["similar".to_owned()],
        leaderboards: vec!["popular".to_owned()],
        cache_size: 10,
        context_size: 100,
        cache_expire: Duration::from_secs(3_600),
        item_ttl: None,
        replacement: None,
        types: FeedbackTypes { positive: filter("like"), negative: filter("dislike"), read: filter("read") },
        cached_lists: true,
        ..Plan::new(&Settings::default())
    }
}

/// A process in small.
pub struct World {
    pub recommender: Recommender,
    pub store: Arc<UnsteadyStore>,
}

impl World {
    /// All items, and the fans with their likes; models are live.
    pub async fn new(plan: Plan) -> Self {
        let world = Self::with_cache(plan, Arc::new(MemoryCache::new(1 << 24))).await;
        world.recommender.use_models(Arc::new(model_set()));
        world
    }

    /// All items and fans, no models.
    pub async fn with_cache(plan: Plan, cache: Arc<dyn CacheStore>) -> Self {
        let store = Arc::new(UnsteadyStore::default());
        let recommender = Recommender::new(store.clone(), cache, plan, Duration::from_secs(5));
        let world = Self { recommender, store };
        let items = (0..2 * ITEMS).map(|index| item(&item_id(index), i64::from(index) + 1, &[]));
        world.write(Command::PutItems { items: items.collect() }).await;
        let likes = likes();
        let mut rows = Vec::new();
        for user in 0..2 * FANS {
            let taste = if user < FANS { "red" } else { "blue" };
            let of_user = likes.row(user as usize).0.iter();
            rows.extend(of_user.map(|&item| {
                row("like", &format!("{taste}-fan-{}", user % FANS), &item_id(item), seconds(1_000))
            }));
        }
        world.put_feedback(rows).await;
        world
    }

    /// Writes as a server does: into the store, then into the recommender.
    pub async fn write(&self, event: Command) -> Vec<Change> {
        let outcome = self.store.apply(vec![Submission::from(event)]).await.unwrap();
        let changes: Vec<Change> = outcome.into_iter().flat_map(|outcome| outcome.changes).collect();
        self.recommender.applied(&changes).await.unwrap();
        changes
    }

    pub async fn put_feedback(&self, rows: Vec<Feedback>) {
        let (mode, insert_users, insert_items) = (FeedbackMode::Overwrite, true, true);
        self.write(Command::PutFeedback { rows, mode, insert_users, insert_items }).await;
    }

    pub async fn feedback(&self, kind: &str, user: &str, items: &[&str]) {
        self.put_feedback(items.iter().map(|item| row(kind, user, item, seconds(2_000))).collect()).await;
    }

    pub async fn put_item(&self, id: &str, published: i64, categories: &[&str]) {
        self.write(Command::PutItems { items: vec![item(id, published, categories)] }).await;
    }

    pub async fn delete_item(&self, id: &str) {
        self.write(Command::DeleteItem { item_id: ItemId::new(id) }).await;
    }

    pub async fn hide(&self, id: &str, is_hidden: bool) {
        let stored = self.store.item(&ItemId::new(id)).await.unwrap().unwrap();
        self.write(Command::PutItems { items: vec![Item { is_hidden, ..stored }] }).await;
    }

    /// The first `n` recommendations.
    pub async fn list(&self, user: &str, n: usize) -> Vec<String> {
        self.recommend(user, &ListQuery { n, ..ListQuery::default() }).await
    }

    /// Recommendations; whatever is there without waiting must be the same.
    pub async fn recommend(&self, user: &str, query: &ListQuery) -> Vec<String> {
        let user = UserId::new(user);
        let now = self.recommender.recommend_now(&user, query);
        let list = self.recommender.recommend(&user, query).await.unwrap();
        assert!(now.is_none_or(|now| now == list), "an answer must not depend on how it was found");
        list.into_iter().map(|entry| entry.id.to_string()).collect()
    }
}

pub fn item(id: &str, published: i64, categories: &[&str]) -> Item {
    Item {
        item_id: ItemId::new(id),
        is_hidden: false,
        categories: Some(categories.iter().map(|&name| name.to_owned()).collect()),
        timestamp: seconds(published),
        labels: serde_json::Value::Null,
        comment: String::new(),
    }
}

pub fn row(kind: &str, user: &str, item: &str, time: Timestamp) -> Feedback {
    Feedback {
        feedback_type: kind.into(),
        user_id: UserId::new(user),
        item_id: ItemId::new(item),
        value: 1.0,
        timestamp: time,
        updated: time,
        labels: serde_json::Value::Null,
        comment: String::new(),
    }
}
