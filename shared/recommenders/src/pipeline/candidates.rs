//! What the sources found: one row for each item, one column for each scorer.

use super::workspace::Workspace;
use super::{Inputs, Ranked};

/// Something that can score an item for a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scorer {
    /// One of the collaborative models, by position in the ModelSet.
    Collaborative(usize),
    /// An item-to-item recommender.
    ItemToItem(String),
    /// A user-to-user recommender.
    UserToUser(String),
    /// A leaderboard.
    Leaderboard(String),
    /// Time of publication.
    Latest,
    /// The click-through-rate model. Finds nothing by itself.
    Ranker,
}

/// See the module documentation.
#[derive(Clone, Debug, Default)]
pub struct Candidates {
    /// The columns.
    pub scorers: Vec<Scorer>,
    /// The items, as slots of the catalogue, in the order in which they were found.
    pub slots: Vec<u32>,
    /// Candidate-major scores; NaN where the scorer has no opinion.
    pub scores: Vec<f32>,
    /// What each column found, best first, as rows of this table.
    pub found: Vec<Vec<u32>>,
    /// What the probability of each item is multiplied by.
    pub factors: Vec<f32>,
}

impl Candidates {
    pub(super) fn new(scorers: Vec<Scorer>) -> Self {
        let found = vec![Vec::new(); scorers.len()];
        Self { scorers, found, ..Self::default() }
    }

    /// The scores of one candidate, one for each scorer.
    #[must_use]
    pub fn row(&self, candidate: usize) -> &[f32] {
        let columns = self.scorers.len();
        &self.scores[candidate * columns..(candidate + 1) * columns]
    }

    /// Adds what a column found, best first.
    pub(super) fn add(&mut self, column: usize, list: &[Ranked], workspace: &mut Workspace) {
        for place in list {
            let row = self.row_of(place.slot, 1.0, workspace);
            let columns = self.scorers.len();
            self.scores[row as usize * columns + column] = place.score;
            self.found[column].push(row);
        }
    }

    /// Adds items that the user has met, if they may be shown at all.
    pub(super) fn add_met(&mut self, inputs: &Inputs<'_>, workspace: &mut Workspace) {
        let Some(replacement) = inputs.plan.replacement else { return };
        let liked = inputs.history.liked.iter().map(|liked| (&liked.item, replacement.positive_decay));
        let read = inputs.history.read.iter().map(|item| (item, replacement.read_decay));
        for (item, factor) in liked.chain(read) {
            let slot = inputs.view.slot(item.as_str());
            if let Some(slot) = slot.filter(|&slot| inputs.view.is_eligible(slot, inputs.eligibility)) {
                self.row_of(slot, factor, workspace);
            }
        }
    }

    /// The row of an item, added if it is new.
    fn row_of(&mut self, slot: u32, factor: f32, workspace: &mut Workspace) -> u32 {
        match workspace.listed_at(slot) {
            Some(row) => row,
            None => {
                let row = self.slots.len() as u32;
                workspace.list(slot, row);
                self.slots.push(slot);
                self.factors.push(factor);
                self.scores.extend((0..self.scorers.len()).map(|_| f32::NAN));
                row
            }
        }
    }

    /// Candidates in the order in which they were found, with the score of whoever found them.
    pub(super) fn in_order(&self) -> Vec<Ranked> {
        let score = |row: &[f32]| row.iter().copied().find(|score| !score.is_nan()).unwrap_or(0.0);
        let slots = self.slots.iter().enumerate();
        slots.map(|(candidate, &slot)| Ranked { slot, score: score(self.row(candidate)) }).collect()
    }
}

impl Scorer {
    /// Stable name, the same as the source's in the settings where there is one.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Collaborative(0) => "collaborative".to_owned(),
            Self::Collaborative(model) => format!("collaborative#{model}"),
            Self::ItemToItem(name) => format!("item-to-item/{name}"),
            Self::UserToUser(name) => format!("user-to-user/{name}"),
            Self::Leaderboard(name) => format!("non-personalized/{name}"),
            Self::Latest => "latest".to_owned(),
            Self::Ranker => "ranker".to_owned(),
        }
    }
}
