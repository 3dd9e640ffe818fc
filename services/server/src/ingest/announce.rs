//! What others must hear of what was applied.

use std::collections::{BTreeSet, HashMap};

use tracing::error;
use ulex_domain::change::ChangeList;
use ulex_domain::split::cut;
use ulex_domain::{Change, Command, CommandKey, ItemId, ItemState, UserId, Version};
use ulex_nats::bus::AppendOptions;
use ulex_nats::changes::Changes;
use ulex_nats::transport::{GAP_HEADER, NODE_HEADER};
use ulex_nats::{Bus, BusError};
use ulex_storage::StorageError;
use ulex_storage::data::DataStore;

/// What a message needs besides its body.
const ROOM: usize = 4096;

/// Appends the changes to `CHANGES`, in as many messages as it takes.
pub(super) async fn publish(bus: &Bus, node: &str, changes: Vec<Change>) -> Result<u64, BusError> {
    if changes.is_empty() {
        return Ok(0);
    }
    let mut known_at = 0;
    let limit = bus.transport().max_payload().saturating_sub(ROOM);
    let size = |list: &ChangeList| serde_json::to_vec(&list.0).map_or(usize::MAX, |bytes| bytes.len());
    for part in cut(ChangeList(changes), &|part| size(part) <= limit) {
        if size(&part) > limit {
            error!(limit, "an item's change is larger than the bus takes; other processes do not hear of it");
            continue;
        }
        let ChangeList(changes) = part;
        let rows = changes.iter().map(|change| change.row_count() as u64).sum();
        let has_items = changes.iter().any(Change::is_about_items);
        let headers = [(NODE_HEADER.to_owned(), node.to_owned())].into();
        let options = AppendOptions { headers, ..AppendOptions::default() };
        let appended = bus.append(&Changes { changes, rows }, options).await?;
        if has_items {
            known_at = appended.sequence;
        }
    }
    Ok(known_at)
}

/// Says that the changes from here on do not follow from those before.
pub(super) async fn gap(bus: &Bus, node: &str) -> Result<(), BusError> {
    let headers = [(NODE_HEADER.to_owned(), node.to_owned()), (GAP_HEADER.to_owned(), "1".to_owned())].into();
    let options = AppendOptions { headers, ..AppendOptions::default() };
    bus.append(&Changes::default(), options).await.map(drop)
}

/// What events may have touched.
#[derive(Default)]
struct Touched {
    users: BTreeSet<UserId>,
    items: BTreeSet<ItemId>,
    pairs: Vec<(UserId, ItemId)>,
    deleted_users: Vec<UserId>,
    deleted_items: Vec<(ItemId, Version)>,
}

impl Touched {
    fn note(&mut self, command: &Command, version: Version) {
        for key in command.keys() {
            match key {
                CommandKey::User(id) => drop(self.users.insert(id.clone())),
                CommandKey::UserRemoval(id) => self.deleted_users.push(id.clone()),
                CommandKey::Item(id) => drop(self.items.insert(id.clone())),
                CommandKey::ItemRemoval(id) => self.deleted_items.push((id.clone(), version)),
                CommandKey::Pair(user_id, item_id) => {
                    // The user and the item may have been created.
                    self.users.insert(user_id.clone());
                    self.items.insert(item_id.clone());
                    self.pairs.push((user_id.clone(), item_id.clone()));
                }
                CommandKey::PairRemoval(user_id, item_id) => {
                    self.pairs.push((user_id.clone(), item_id.clone()));
                }
            }
        }
    }
}

/// The changes of events that were applied at some time, each with the place at which it comes again, said from what the
/// store holds now, so that one who heard nothing of it and one who heard everything end up with the same.
///
/// An item is deleted as of that place: whatever creates it again stands behind it. An event that is sent again with its
/// id may stand behind that, too; then the item was deleted before it was created.
pub(super) async fn again(
    store: &dyn DataStore,
    commands: &[(Command, Version)],
) -> Result<Vec<Change>, StorageError> {
    let mut touched = Touched::default();
    commands.iter().for_each(|(command, version)| touched.note(command, *version));
    let Touched { mut users, mut items, mut pairs, deleted_users, deleted_items } = touched;
    let mut changes = Vec::new();
    for user_id in deleted_users {
        let rows = store.user_feedback(&user_id, None).await?;
        pairs.extend(rows.into_iter().map(|row| (row.user_id, row.item_id)));
        users.insert(user_id.clone());
        changes.push(Change::UserDeleted { user_id });
    }
    for (item_id, _) in &deleted_items {
        let rows = store.item_feedback(item_id, None, None).await?;
        pairs.extend(rows.into_iter().map(|row| (row.user_id, row.item_id)));
        items.insert(item_id.clone());
    }
    let (users, items): (Vec<_>, Vec<_>) = (users.into_iter().collect(), items.into_iter().collect());
    let user_ids: Vec<UserId> = store.users(&users).await?.into_iter().map(|user| user.user_id).collect();
    if !user_ids.is_empty() {
        changes.push(Change::Users { user_ids });
    }
    let items: Vec<ItemState> = store.item_states(&items).await?;
    let created: HashMap<&ItemId, Version> =
        items.iter().map(|state| (&state.item_id, state.version)).collect();
    for (item_id, version) in deleted_items {
        let version = created.get(&item_id).map_or(version, |created| version.min(created.before()));
        changes.push(Change::ItemDeleted { item_id, version });
    }
    if !items.is_empty() {
        changes.push(Change::Items { items });
    }
    if !pairs.is_empty() {
        changes.push(Change::Feedback { pairs });
    }
    Ok(changes)
}
