//! The smallest ModelSet, for tests.

use ulex_algorithms::dictionary::Dictionary;
use ulex_algorithms::interactions::Interactions;
use ulex_algorithms::model_set::{Manifest, ModelSet};
use ulex_algorithms::similarity::{OverlapIndex, OverlapParams};

/// A ModelSet that knows these users and nothing else.
pub fn knows_only(id: &str, epoch: u64, user_ids: &[&str]) -> ModelSet {
    let mut users = Dictionary::default();
    user_ids.iter().for_each(|id| _ = users.intern(id));
    let liked = Interactions::from_triples(user_ids.len(), 0, Vec::new());
    ModelSet {
        manifest: Manifest { id: id.to_owned(), epoch, ..Manifest::default() },
        users,
        items: Dictionary::default(),
        overlap: OverlapIndex::new(&liked, OverlapParams::COSINE),
        popularity_discount: 0.0,
        discounted: liked.clone(),
        liked,
        collaborative: Vec::new(),
        item_to_item: Vec::new(),
        user_to_user: Vec::new(),
        leaderboards: Vec::new(),
        ranker: None,
        blend: None,
    }
}
