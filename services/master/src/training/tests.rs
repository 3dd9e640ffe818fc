use super::*;
use serde_json::Value;
use smol_str::SmolStr;
use ulex_domain::{Command, Feedback, FeedbackMode, Item, ItemId, UserId};
use ulex_settings::from_toml;
use ulex_storage::data::{DataStore as _, FeedbackRow, MemoryStore, Submission};

const USERS: u32 = 60;
const ITEMS: u32 = 40;

/// Two tastes: even users like even items, odd users odd ones, most of them, in an order of their own.
fn likes(users: std::ops::Range<u32>) -> Vec<Feedback> {
    let like = |user: u32, step: u32| {
        let item = 2 * ((user * 7 + step * 3) % (ITEMS / 2)) + user % 2;
        let moment = Timestamp::from_unix_seconds(i64::from(step) * 60);
        Feedback {
            feedback_type: SmolStr::new("star"),
            user_id: UserId::new(format!("u{user}")),
            item_id: ItemId::new(format!("i{item}")),
            value: 1.0,
            timestamp: moment,
            updated: moment,
            labels: Value::Null,
            comment: String::new(),
        }
    };
    users.flat_map(|user| (0..12).map(move |step| like(user, step))).collect()
}

async fn table(rows: Vec<Feedback>) -> Table {
    let store = MemoryStore::new();
    let items = (0..ITEMS).map(|item| Item::bare(ItemId::new(format!("i{item}")))).collect();
    let feedback =
        Command::PutFeedback { rows, mode: FeedbackMode::Overwrite, insert_users: true, insert_items: true };
    let events = vec![Command::PutItems { items }, feedback];
    let submissions = events.into_iter().map(Submission::from).collect();
    store.apply(submissions).await.unwrap();
    Table::load(&store).await.unwrap()
}

fn run(table: &Table, settings: &str, live: Option<&ModelSet>) -> Result<Cycled, CycleError> {
    let settings = CycleSettings::new(from_toml(settings).unwrap().settings);
    let cycle = Cycle {
        table,
        settings: &settings,
        live,
        now: Timestamp::from_unix_seconds(100_000),
        tasks: &TaskBoard::unattended("test"),
        cancel: &CancelFlag::default(),
    };
    cycle.run()
}

fn metric(cycled: &Cycled, name: &str) -> f64 {
    cycled.set.manifest.metrics[name]
}

#[tokio::test]
async fn a_cycle_makes_a_sane_model_set_that_tells_two_tastes_apart() {
    let table = table(likes(0..USERS)).await;
    let cycled = run(&table, "", None).unwrap();
    assert_eq!(cycled.problems, [""; 0]);
    assert!(cycled.comparison.is_none(), "there is nothing to compare with");
    // Of 40 items, 20 are of the right taste and at least 10 of those seen: guessing within the taste finds most.
    assert!(metric(&cycled, "pipeline.ndcg@10") > 0.3, "{:?}", cycled.set.manifest.metrics);
    assert!(metric(&cycled, "pipeline.ndcg@10") > metric(&cycled, "non-personalized/popular.ndcg@10"));
    assert_eq!(cycled.users.len(), USERS as usize);
    assert!(cycled.set.blend.is_some());
    assert_eq!(cycled.set.leaderboard("popular").map(|board| board.entries.len()), Some(ITEMS as usize));
}

#[tokio::test]
async fn the_same_data_and_seed_give_the_same_bytes_and_any_bytes_read_back_the_same() {
    let table = table(likes(0..USERS)).await;
    let bytes = || {
        let mut set = run(&table, "", None).unwrap().set;
        // Times are the one thing that differs from run to run.
        set.manifest.metrics.retain(|name, _| !name.ends_with("seconds"));
        set.to_bytes().unwrap()
    };
    let first = bytes();
    assert!(first == bytes(), "two fits differ");
    let read = ModelSet::from_bytes(&first).unwrap();
    assert!(read.to_bytes().unwrap() == first, "reading and writing changes something");
}

/// The table again from rows in another order, types and all.
fn rows_reversed(table: &Table) -> Table {
    let mut other = Table {
        users: table.users.clone(),
        items: table.items.clone(),
        user_texts: table.user_texts.clone(),
        item_texts: table.item_texts.clone(),
        ..Table::default()
    };
    for row in (0..table.rows.len()).rev() {
        other.push(&FeedbackRow {
            feedback_type: table.types.id(u32::from(table.rows.kind[row])),
            user_id: table.users.id(table.rows.user[row]),
            item_id: table.items.id(table.rows.item[row]),
            value: f64::from(table.rows.value[row]),
            timestamp: table.rows.timestamp[row],
            updated: table.rows.updated[row],
        });
    }
    other.sort_rows();
    other
}

#[tokio::test]
async fn what_is_learned_does_not_depend_on_the_order_in_which_a_store_gives_its_rows() {
    let of_type = |kind: &'static str, value: f64| {
        let kind = SmolStr::new(kind);
        likes(0..USERS).into_iter().step_by(2).map(move |row| Feedback {
            feedback_type: kind.clone(),
            value,
            ..row
        })
    };
    let mut rows = likes(0..USERS);
    rows.extend(of_type("like", 0.1));
    rows.extend(of_type("buy", 0.7));
    let settings = "[recommend.data_source]\npositive_feedback_types = ['star', 'like', 'buy']";
    let table = table(rows).await;
    let other = rows_reversed(&table);
    assert_ne!(table.types.id(0), other.types.id(0), "the types are numbered differently");
    let content = |table: &Table| run(table, settings, None).unwrap().set.manifest.content;
    let digest = content(&table);
    assert_eq!(digest.len(), 64);
    assert_eq!(content(&other), digest);
}

#[tokio::test]
async fn unseen_pairs_of_enough_users_are_compared_with_the_model_in_use() {
    let old = run(&table(likes(0..USERS)).await, "", None).unwrap().set;
    let mut rows = likes(0..USERS);
    for user in 0..USERS {
        let mut new = rows[(user * 12) as usize].clone();
        new.item_id = ItemId::new(format!("i{}", 2 * ((user * 7 + 2) % (ITEMS / 2)) + user % 2));
        rows.push(new);
    }
    let cycled = run(&table(rows).await, "", Some(&old)).unwrap();
    let comparison = cycled.comparison.expect("all users have something new");
    assert_eq!(comparison.candidate.len(), comparison.live.len());
    assert!(comparison.candidate.len() >= split::COMPARABLE_USERS);
    assert_eq!(cycled.compared_with.as_deref(), Some(old.id()));
}

#[tokio::test]
async fn without_feedback_or_items_there_is_nothing_to_fit() {
    let nothing = run(&table(Vec::new()).await, "", None);
    assert_eq!(nothing.err(), Some(CycleError::Empty("No feedback found.")));
    let no_items = run(&Table::default(), "", None);
    assert_eq!(no_items.err(), Some(CycleError::Empty("No item found.")));
}

#[tokio::test]
async fn a_cancelled_cycle_leaves_nothing() {
    let table = table(likes(0..USERS)).await;
    let settings = CycleSettings::new(from_toml("").unwrap().settings);
    let cancel = CancelFlag::default();
    cancel.cancel();
    let cycle = Cycle {
        table: &table,
        settings: &settings,
        live: None,
        now: Timestamp::from_unix_seconds(100_000),
        tasks: &TaskBoard::unattended("test"),
        cancel: &cancel,
    };
    assert_eq!(cycle.run().err(), Some(CycleError::Cancelled));
}

#[tokio::test]
async fn an_unranked_plan_is_fitted_without_ranker_and_blend() {
    let settings = "[recommend.ranker]\ntype = 'none'\nrecommenders = ['latest']";
    let cycled = run(&table(likes(0..USERS)).await, settings, None).unwrap();
    assert!(cycled.set.ranker.is_none() && cycled.set.blend.is_none());
    assert!(!cycled.set.collaborative.is_empty(), "its own routes still need it");
}

#[tokio::test]
async fn a_single_user_with_a_single_like_is_enough_for_a_cycle() {
    let cycled = run(&table(likes(0..1)[..1].to_vec()).await, "", None).unwrap();
    assert_eq!(cycled.problems, [""; 0]);
}
