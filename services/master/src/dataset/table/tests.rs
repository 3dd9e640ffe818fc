use super::*;
use proptest::prelude::*;
use smol_str::SmolStr;
use std::collections::BTreeMap;
use ulex_domain::{Command, FeedbackMode};
use ulex_storage::data::{MemoryStore, Submission};

/// A few users and items, so that random events meet each other.
#[derive(Clone, Debug)]
enum Step {
    Like(u8, u8, i8),
    Forget(u8, u8),
    DeleteUser(u8),
    DeleteItem(u8),
    Describe(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0_u8..5, 0_u8..6, any::<i8>()).prop_map(|(user, item, value)| Step::Like(user, item, value)),
        1 => (0_u8..5, 0_u8..6).prop_map(|(user, item)| Step::Forget(user, item)),
        1 => (0_u8..5).prop_map(Step::DeleteUser),
        1 => (0_u8..6).prop_map(Step::DeleteItem),
        1 => (0_u8..6).prop_map(Step::Describe),
    ];
    proptest::collection::vec(step, 0..40)
}

fn event(step: &Step) -> Command {
    let (user, item) =
        (|number: u8| UserId::new(format!("u{number}")), |number: u8| ItemId::new(format!("i{number}")));
    match *step {
        Step::Like(who, what, value) => Command::PutFeedback {
            rows: vec![Feedback {
                feedback_type: SmolStr::new("star"),
                user_id: user(who),
                item_id: item(what),
                value: f64::from(value),
                timestamp: Timestamp::from_unix_seconds(i64::from(value)),
                updated: Timestamp::ZERO,
                labels: serde_json::Value::Null,
                comment: String::new(),
            }],
            mode: FeedbackMode::Accumulate,
            insert_users: true,
            insert_items: true,
        },
        Step::Forget(who, what) => {
            Command::DeleteFeedback { user_id: user(who), item_id: item(what), feedback_type: None }
        }
        Step::DeleteUser(who) => Command::DeleteUser { user_id: user(who) },
        Step::DeleteItem(what) => Command::DeleteItem { item_id: item(what) },
        Step::Describe(what) => Command::PutItems {
            items: vec![Item { comment: "described".to_owned(), ..Item::bare(item(what)) }],
        },
    }
}

type Keyed = BTreeMap<(String, String, String), (String, String)>;

/// The content by ids: indexes may differ between a table that was loaded and one that was kept current.
fn content(table: &Table) -> (Keyed, Vec<String>, Vec<String>) {
    let rows = &table.rows;
    let row = |row: usize| {
        let key = (
            table.types.id(u32::from(rows.kind[row])).to_owned(),
            table.users.id(rows.user[row]).to_owned(),
            table.items.id(rows.item[row]).to_owned(),
        );
        (key, (format!("{} {}", rows.value[row], rows.timestamp[row]), rows.updated[row].to_string()))
    };
    let texts = |texts: &[Box<str>]| {
        let mut texts: Vec<String> =
            texts.iter().filter(|text| !text.is_empty()).map(|text| text.to_string()).collect();
        texts.sort();
        texts
    };
    let pairs: Vec<_> = (0..rows.len()).map(row).collect();
    let by_key: BTreeMap<_, _> = pairs.iter().cloned().collect();
    assert_eq!(by_key.len(), pairs.len(), "no row twice");
    (by_key, texts(&table.user_texts), texts(&table.item_texts))
}

async fn apply(store: &MemoryStore, steps: &[Step]) -> Vec<Change> {
    let submissions = steps.iter().map(|step| Submission::from(event(step))).collect();
    let outcomes = store.apply(submissions).await.unwrap();
    outcomes.into_iter().flat_map(|outcome| outcome.changes).collect()
}

proptest! {
    #[test]
    fn keeping_a_table_current_gives_what_loading_it_anew_gives(
        before in steps(), after in steps(), twice in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let store = MemoryStore::new();
            apply(&store, &before).await;
            let mut table = Table::load(&store).await.unwrap();
            let changes = apply(&store, &after).await;
            let mut dirty = Dirty::default();
            for change in &changes {
                dirty.note(change);
            }
            table.refresh(&dirty, &store).await.unwrap();
            if twice {
                table.refresh(&dirty, &store).await.unwrap();
            }
            assert_eq!(content(&table), content(&Table::load(&store).await.unwrap()));
        });
    }
}
