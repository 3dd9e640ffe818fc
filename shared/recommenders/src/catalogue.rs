//! Every item there is, as far as it decides what may be shown: in memory, current with the last answered write.
//!
//! Every state has the version of the command that made it, and of two states of an item the newest stays, in whatever order
//! they come: from a write of this process, from another one's announcement, from a page that is being loaded. A deletion
//! is a state like any other (a tombstone), so an older state that comes after it does not bring the item back.
//!
//! Cost: about 170 bytes an item. Look-ups by slot are array accesses under a read lock that writers hold for
//! microseconds, so a request takes the lock once and keeps the view for its whole computation.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};

use parking_lot::{RwLock, RwLockReadGuard};
use rustc_hash::FxHashMap;
use smol_str::SmolStr;
use ulex_domain::ItemState;
use ulex_domain::{ItemId, Timestamp, Version};
use ulex_storage::StorageError;
use ulex_storage::data::{DataStore, LogPosition};

/// Items read from the store in one page while loading.
const PAGE: usize = 10_000;

/// The present state of all items. One for each process that answers or computes lists.
#[derive(Debug)]
pub struct Catalogue {
    inner: RwLock<Inner>,
}

impl Default for Catalogue {
    fn default() -> Self {
        let generation = RandomState::new().hash_one(0);
        Self { inner: RwLock::new(Inner { generation, ..Inner::default() }) }
    }
}

#[derive(Debug, Default)]
struct Inner {
    slots: FxHashMap<SmolStr, u32>,
    entries: Vec<Entry>,
    category_numbers: FxHashMap<SmolStr, u32>,
    /// How many existing items carry each category.
    category_sizes: Vec<u32>,
    /// Items that exist and are not hidden, newest first; of one time, the one that came last first.
    newest: BTreeSet<(Reverse<Timestamp>, Reverse<u32>)>,
    existing: usize,
    /// Number of times that loading has begun.
    loads: u32,
    /// Version that the store had when the last load began: of an item that was not there, nothing older is news.
    floor: Version,
    /// Moves on with every change; starts at random so that two processes are never mistaken for each other.
    generation: u64,
}

#[derive(Debug)]
struct Entry {
    id: SmolStr,
    timestamp: Timestamp,
    categories: Box<[u32]>,
    exists: bool,
    hidden: bool,
    /// Of the newest state that came, a deletion included.
    version: Version,
    /// The load during which that state came.
    load: u32,
}

impl Catalogue {
    /// Takes over all items of the store, in the order in which they came, and forgets those that are not there. Writes
    /// may go on meanwhile: a state that comes beside the load stays if it is newer than the loaded one. Everything
    /// older than the load gives way to what the store says, so a store that went back is followed, too. On an error
    /// nothing is forgotten. One load at a time.
    ///
    /// # Errors
    ///
    /// Whatever the store reports.
    pub async fn load(&self, store: &dyn DataStore) -> Result<usize, StorageError> {
        let floor = store.logs().await?.iter().map(LogPosition::version).max().unwrap_or_default();
        let load = self.inner.write().begin_load();
        let mut from = 0;
        let mut loaded = 0;
        loop {
            let page = store.items_by_arrival(from, PAGE).await?;
            let Some(last) = page.last() else { break };
            from = last.number + 1;
            loaded += page.len();
            let mut inner = self.inner.write();
            for item in &page {
                inner.put_loaded(&item.state(), load);
            }
        }
        self.inner.write().end_load(load, floor);
        Ok(loaded)
    }

    /// Takes over the states of items after a write, those that are not older than what is known.
    pub fn put(&self, states: &[ItemState]) {
        let mut inner = self.inner.write();
        for state in states {
            inner.put(state);
        }
    }

    /// Forgets an item that was deleted at this version, unless it was written again since. An item that is not known yet
    /// gets a tombstone, too: its older state may still be on its way.
    pub fn remove(&self, id: &ItemId, version: Version) {
        self.inner.write().remove(id.as_str(), version);
    }

    /// The slots of these ids, in their order. An id without an item gets one that waits for it. Writers and readers
    /// wait only while ids that are new are added.
    pub fn reserve<'a>(&self, ids: impl Iterator<Item = &'a str>) -> Vec<u32> {
        const MISSING: u32 = u32::MAX;
        let mut missing: Vec<(usize, &str)> = Vec::new();
        let view = self.view();
        let find = |(place, id): (usize, &'a str)| match view.slot(id) {
            Some(slot) => slot,
            None => {
                missing.push((place, id));
                MISSING
            }
        };
        let mut slots: Vec<u32> = ids.enumerate().map(find).collect();
        drop(view);
        if !missing.is_empty() {
            let mut inner = self.inner.write();
            for (place, id) in missing {
                slots[place] = inner.slot(SmolStr::new(id));
            }
        }
        slots
    }

    /// A consistent view for one computation. Writers wait while it is held: never keep it across an await.
    #[must_use]
    pub fn view(&self) -> CatalogueView<'_> {
        CatalogueView { inner: self.inner.read() }
    }
}

impl Inner {
    /// Takes over a state unless it is older than what is known.
    fn put(&mut self, state: &ItemState) {
        let slot = self.slot(SmolStr::new(state.item_id.as_str()));
        let entry = &self.entries[slot as usize];
        // A deletion and a write never have the same version, unless no log gave them one.
        let is_repeated = state.version == entry.version && (entry.exists || state.version == Version::ZERO);
        if state.version > entry.version || is_repeated {
            self.set(slot, state);
        }
    }

    /// Takes over a state that was loaded: it is newer than everything from before the load.
    fn put_loaded(&mut self, state: &ItemState, load: u32) {
        let slot = self.slot(SmolStr::new(state.item_id.as_str()));
        let entry = &self.entries[slot as usize];
        if entry.load != load || state.version >= entry.version {
            self.set(slot, state);
        }
    }

    fn set(&mut self, slot: u32, state: &ItemState) {
        self.generation = self.generation.wrapping_add(1);
        self.unlist(slot);
        let categories = state.categories.iter().map(|name| self.category(name)).collect();
        let load = self.loads;
        let entry = &mut self.entries[slot as usize];
        entry.timestamp = state.timestamp;
        entry.categories = categories;
        entry.hidden = state.is_hidden;
        entry.exists = true;
        entry.version = state.version;
        entry.load = load;
        self.existing += 1;
        for &category in &self.entries[slot as usize].categories {
            self.category_sizes[category as usize] += 1;
        }
        if !state.is_hidden {
            self.newest.insert((Reverse(state.timestamp), Reverse(slot)));
        }
    }

    fn remove(&mut self, id: &str, version: Version) {
        let slot = self.slot(SmolStr::new(id));
        let load = self.loads;
        let entry = &mut self.entries[slot as usize];
        if version < entry.version {
            return;
        }
        (entry.version, entry.load) = (version, load);
        if entry.exists {
            self.generation = self.generation.wrapping_add(1);
            self.unlist(slot);
        }
    }

    fn begin_load(&mut self) -> u32 {
        self.loads = self.loads.wrapping_add(1);
        self.loads
    }

    /// Forgets every item of which nothing has come since the load began, when the store had come to `floor`.
    fn end_load(&mut self, load: u32, floor: Version) {
        self.floor = floor;
        let is_gone = |entry: &Entry| entry.exists && entry.load != load;
        let gone = self.entries.iter().enumerate().filter(|(_, entry)| is_gone(entry));
        let gone: Vec<u32> = gone.map(|(slot, _)| slot as u32).collect();
        if !gone.is_empty() {
            self.generation = self.generation.wrapping_add(1);
        }
        for slot in gone {
            self.unlist(slot);
            self.entries[slot as usize].version = floor;
        }
    }

    /// Takes an existing item out of every count and list; its slot stays for its id.
    fn unlist(&mut self, slot: u32) {
        let entry = &mut self.entries[slot as usize];
        if !entry.exists {
            return;
        }
        entry.exists = false;
        self.existing -= 1;
        for &category in &entry.categories {
            self.category_sizes[category as usize] -= 1;
        }
        self.newest.remove(&(Reverse(entry.timestamp), Reverse(slot)));
    }

    /// The slot of an id, added if it is new.
    fn slot(&mut self, id: SmolStr) -> u32 {
        if let Some(&slot) = self.slots.get(&id) {
            return slot;
        }
        let slot = u32::try_from(self.entries.len()).expect("fewer than 2^32 items");
        self.entries.push(Entry {
            id: id.clone(),
            timestamp: Timestamp::ZERO,
            categories: Box::default(),
            exists: false,
            hidden: false,
            version: self.floor,
            load: self.loads,
        });
        self.slots.insert(id, slot);
        slot
    }

    fn category(&mut self, name: &SmolStr) -> u32 {
        if let Some(&number) = self.category_numbers.get(name) {
            return number;
        }
        let number = u32::try_from(self.category_sizes.len()).expect("fewer than 2^32 categories");
        self.category_sizes.push(0);
        self.category_numbers.insert(name.clone(), number);
        number
    }
}

/// What a request demands of an item beyond being there and not hidden.
#[derive(Clone, Debug)]
pub struct Eligibility {
    /// Items carry all of these; `None`: a requested category does not exist, so nothing qualifies.
    categories: Option<Vec<u32>>,
    /// Only items published after this moment.
    published_after: Option<Timestamp>,
}

/// See [`Catalogue::view`].
pub struct CatalogueView<'a> {
    inner: RwLockReadGuard<'a, Inner>,
}

impl CatalogueView<'_> {
    /// Resolves the names of categories once for a request.
    #[must_use]
    pub fn eligibility(&self, categories: &[String], published_after: Option<Timestamp>) -> Eligibility {
        let numbers = categories.iter().map(|name| self.inner.category_numbers.get(name.as_str()).copied());
        Eligibility { categories: numbers.collect(), published_after }
    }

    /// The slot of an item: stable for the life of the process, below [`CatalogueView::len`].
    #[must_use]
    pub fn slot(&self, id: &str) -> Option<u32> {
        self.inner.slots.get(id).copied()
    }

    /// Changes with every change of any item; means nothing outside this process.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.inner.generation
    }

    /// Number of slots, including those of ids without an item.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.entries.len()
    }

    /// Whether there is no slot.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inner.entries.is_empty()
    }

    /// Whether there is an item, hidden or not.
    #[must_use]
    pub fn exists(&self, slot: u32) -> bool {
        self.inner.entries.get(slot as usize).is_some_and(|entry| entry.exists)
    }

    /// Items that exist, hidden ones included.
    #[must_use]
    pub fn existing(&self) -> usize {
        self.inner.existing
    }

    /// The id of a slot.
    #[must_use]
    pub fn id(&self, slot: u32) -> &SmolStr {
        &self.inner.entries[slot as usize].id
    }

    /// When the item of a slot was published.
    #[must_use]
    pub fn timestamp(&self, slot: u32) -> Timestamp {
        self.inner.entries[slot as usize].timestamp
    }

    /// Whether the item may be shown.
    #[must_use]
    #[inline]
    pub fn is_eligible(&self, slot: u32, eligibility: &Eligibility) -> bool {
        let Some(entry) = self.inner.entries.get(slot as usize) else { return false };
        entry.exists
            && !entry.hidden
            && eligibility.published_after.is_none_or(|after| entry.timestamp > after)
            && eligibility
                .categories
                .as_ref()
                .is_some_and(|wanted| wanted.iter().all(|category| entry.categories.contains(category)))
    }

    /// Slots that may be shown, newest first; of one time, the one that came last first.
    pub fn newest<'a>(&'a self, eligibility: &'a Eligibility) -> impl Iterator<Item = u32> + 'a {
        self.inner
            .newest
            .iter()
            .map(|&(_, Reverse(slot))| slot)
            .filter(|&slot| self.is_eligible(slot, eligibility))
    }

    /// Categories of existing items with the number of items, largest first, ties by name.
    #[must_use]
    pub fn categories(&self) -> Vec<(SmolStr, u32)> {
        let sizes = self.inner.category_numbers.iter();
        let mut found: Vec<(SmolStr, u32)> = sizes
            .map(|(name, &number)| (name.clone(), self.inner.category_sizes[number as usize]))
            .filter(|&(_, size)| size > 0)
            .collect();
        found.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        found
    }
}

impl Eligibility {
    /// Demands nothing.
    #[must_use]
    pub fn any() -> Self {
        Self { categories: Some(Vec::new()), published_after: None }
    }
}

#[cfg(test)]
mod tests {
    use ulex_domain::{Command, Item, Version};
    use ulex_storage::data::{MemoryStore, Submission};

    use super::*;

    fn item(id: &str, seconds: i64, categories: &[&str]) -> ItemState {
        ItemState {
            item_id: ItemId::new(id),
            is_hidden: false,
            categories: categories.iter().map(SmolStr::new).collect(),
            timestamp: Timestamp::from_unix_seconds(seconds),
            version: Version::ZERO,
        }
    }

    fn shown(catalogue: &Catalogue, categories: &[&str]) -> Vec<String> {
        let view = catalogue.view();
        let names: Vec<String> = categories.iter().map(|&name| name.to_owned()).collect();
        let wanted = view.eligibility(&names, None);
        view.newest(&wanted).map(|slot| view.id(slot).to_string()).collect()
    }

    #[test]
    fn newest_first_with_ties_by_arrival_and_categories_combined_by_and() {
        let catalogue = Catalogue::default();
        catalogue.put(&[item("a", 5, &["x"]), item("b", 9, &["x", "y"]), item("c", 5, &["y"])]);
        assert_eq!(shown(&catalogue, &[]), ["b", "c", "a"]);
        assert_eq!(shown(&catalogue, &["x"]), ["b", "a"]);
        assert_eq!(shown(&catalogue, &["x", "y"]), ["b"]);
        assert_eq!(shown(&catalogue, &["never heard of"]), [""; 0]);
    }

    #[test]
    fn hidden_and_deleted_items_vanish_and_come_back() {
        let catalogue = Catalogue::default();
        catalogue.put(&[item("a", 1, &["x"]), item("b", 2, &[])]);
        catalogue.put(&[ItemState { is_hidden: true, ..item("a", 1, &["x"]) }]);
        assert_eq!(shown(&catalogue, &[]), ["b"]);
        assert_eq!(catalogue.view().categories(), [(SmolStr::new("x"), 1)]);
        catalogue.remove(&ItemId::new("b"), Version::ZERO);
        assert_eq!(shown(&catalogue, &[]), [""; 0]);
        assert_eq!(catalogue.view().existing(), 1);
        catalogue.put(&[item("a", 3, &[]), item("b", 2, &[])]);
        assert_eq!(shown(&catalogue, &[]), ["a", "b"]);
        assert!(catalogue.view().categories().is_empty());
    }

    #[test]
    fn slots_outlive_their_items() {
        let catalogue = Catalogue::default();
        catalogue.put(&[item("a", 1, &["x"]), item("b", 2, &[])]);
        let before = ["a", "b"].map(|id| catalogue.view().slot(id).unwrap());
        catalogue.remove(&ItemId::new("a"), Version::ZERO);
        catalogue.remove(&ItemId::new("b"), Version::ZERO);
        assert_eq!(shown(&catalogue, &[]), [""; 0]);
        assert_eq!((catalogue.view().existing(), catalogue.view().categories()), (0, Vec::new()));
        catalogue.put(&[item("c", 1, &[]), item("b", 2, &["x"]), item("a", 3, &[])]);
        assert_eq!(["a", "b"].map(|id| catalogue.view().slot(id).unwrap()), before);
        assert_eq!(shown(&catalogue, &[]), ["a", "b", "c"]);
        assert_eq!(catalogue.view().categories(), [(SmolStr::new("x"), 1)]);
    }

    #[test]
    fn a_reserved_slot_shows_nothing_until_its_item_comes() {
        let catalogue = Catalogue::default();
        catalogue.put(&[item("a", 1, &[])]);
        let generation = catalogue.view().generation();
        let slots = catalogue.reserve(["later", "a", "later"].into_iter());
        assert_eq!((slots[0], slots[1]), (slots[2], catalogue.view().slot("a").unwrap()));
        assert!(!catalogue.view().exists(slots[0]) && catalogue.view().exists(slots[1]));
        assert_eq!(catalogue.view().generation(), generation, "nothing that can be seen has changed");
        catalogue.remove(&ItemId::new("later"), Version::ZERO);
        assert_eq!((shown(&catalogue, &[]), catalogue.view().existing()), (vec!["a".to_owned()], 1));
        catalogue.put(&[item("later", 2, &[])]);
        assert_eq!(catalogue.view().slot("later"), Some(slots[0]));
        assert_eq!(shown(&catalogue, &[]), ["later", "a"]);
    }

    #[test]
    fn every_change_moves_the_generation_on_and_catalogues_start_at_different_ones() {
        let catalogue = Catalogue::default();
        assert_ne!(catalogue.view().generation(), Catalogue::default().view().generation());
        let mut seen = vec![catalogue.view().generation()];
        catalogue.put(&[item("a", 1, &[])]);
        seen.push(catalogue.view().generation());
        catalogue.put(&[ItemState { is_hidden: true, ..item("a", 1, &[]) }]);
        seen.push(catalogue.view().generation());
        catalogue.remove(&ItemId::new("a"), Version::ZERO);
        seen.push(catalogue.view().generation());
        seen.dedup();
        assert_eq!(seen.len(), 4);
    }

    #[tokio::test]
    async fn loading_reads_every_item_in_the_order_in_which_it_came() {
        let store = MemoryStore::new();
        let items = (0..PAGE + 5).map(|number| Item {
            item_id: ItemId::new(format!("{number}")),
            is_hidden: number == 3,
            categories: Some(vec!["x".to_owned()]),
            timestamp: Timestamp::from_unix_seconds(7),
            labels: serde_json::Value::Null,
            comment: String::new(),
        });
        let event = Command::PutItems { items: items.collect() };
        store.apply(vec![Submission::from(event)]).await.unwrap();
        let catalogue = Catalogue::default();
        assert_eq!(catalogue.load(&store).await.unwrap(), PAGE + 5);
        let shown = shown(&catalogue, &["x"]);
        assert_eq!(shown.len(), PAGE + 4, "one is hidden");
        assert_eq!(catalogue.view().existing(), PAGE + 5);
        assert!(shown.iter().all(|id| id != "3"));
    }

    fn at(position: u64, state: ItemState) -> ItemState {
        ItemState { version: Version::new(1, position), ..state }
    }

    #[test]
    fn of_two_states_the_newest_stays_in_whatever_order_they_come() {
        let catalogue = Catalogue::default();
        let hidden = ItemState { is_hidden: true, ..item("a", 1, &[]) };
        catalogue.put(&[at(2, hidden)]);
        let generation = catalogue.view().generation();
        catalogue.put(&[at(1, item("a", 1, &["x"]))]);
        assert_eq!(shown(&catalogue, &[]), [""; 0], "a takedown is not undone by what was before it");
        assert_eq!(catalogue.view().generation(), generation);
        catalogue.put(&[at(3, item("a", 1, &[]))]);
        assert_eq!(shown(&catalogue, &[]), ["a"]);
        let newer_epoch = ItemState { version: Version::new(2, 1), is_hidden: true, ..item("a", 1, &[]) };
        catalogue.put(&[newer_epoch]);
        assert_eq!(shown(&catalogue, &[]), [""; 0]);
    }

    #[test]
    fn a_deleted_item_does_not_come_back_by_an_older_state() {
        let catalogue = Catalogue::default();
        catalogue.remove(&ItemId::new("never seen"), Version::new(1, 5));
        catalogue.put(&[at(4, item("never seen", 1, &[])), at(1, item("b", 1, &[]))]);
        catalogue.remove(&ItemId::new("b"), Version::new(1, 6));
        catalogue.put(&[at(1, item("b", 1, &[]))]);
        assert_eq!(shown(&catalogue, &[]), [""; 0]);
        catalogue.put(&[at(7, item("b", 1, &[]))]);
        assert_eq!(shown(&catalogue, &[]), ["b"]);
        catalogue.remove(&ItemId::new("b"), Version::new(1, 6));
        assert_eq!(shown(&catalogue, &[]), ["b"], "an older deletion is not obeyed");
    }

    #[tokio::test]
    async fn what_was_deleted_before_a_load_is_gone_after_it_and_stays_so() {
        let store = MemoryStore::new();
        let submit = |sequence, event| Submission {
            event_id: None,
            event,
            position: Some(LogPosition { log: "l".into(), epoch: 1, sequence, ..LogPosition::default() }),
            follows: None,
        };
        let put = |id: &str| Command::PutItems {
            items: vec![Item {
                item_id: ItemId::new(id),
                is_hidden: false,
                categories: None,
                timestamp: Timestamp::from_unix_seconds(1),
                labels: serde_json::Value::Null,
                comment: String::new(),
            }],
        };
        store.apply(vec![submit(1, put("a")), submit(2, put("b"))]).await.unwrap();
        let catalogue = Catalogue::default();
        catalogue.load(&store).await.unwrap();
        assert_eq!(shown(&catalogue, &[]), ["b", "a"]);
        let delete = Command::DeleteItem { item_id: ItemId::new("a") };
        store.apply(vec![submit(3, delete), submit(4, put("b"))]).await.unwrap();
        catalogue.load(&store).await.unwrap();
        assert_eq!(shown(&catalogue, &[]), ["b"]);
        catalogue.put(&[at(1, item("a", 1, &[])), at(2, item("unheard of", 1, &[]))]);
        assert_eq!(shown(&catalogue, &[]), ["b"], "states from before the load are no news");
        store.purge().await.unwrap();
        store.apply(vec![submit(2, put("a"))]).await.unwrap();
        catalogue.load(&store).await.unwrap();
        assert_eq!(shown(&catalogue, &[]), ["a"], "a store that went back is followed");
    }

    #[test]
    fn a_time_limit_keeps_what_is_strictly_newer() {
        let catalogue = Catalogue::default();
        catalogue.put(&[item("a", 1, &[]), item("b", 2, &[])]);
        let view = catalogue.view();
        let wanted = view.eligibility(&[], Some(Timestamp::from_unix_seconds(1)));
        assert_eq!(view.newest(&wanted).map(|slot| view.id(slot).as_str()).collect::<Vec<_>>(), ["b"]);
    }
}
