//! A ModelSet as one snapshot, and back.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    Collaborative, Factors, ItemNeighbors, ItemSide, Leaderboard, Manifest, ModelSet, PipelineBlend,
    RankerModel, UserNeighbors,
};
use crate::click_through::{Calibration, FactorizationMachine, FeatureRows, Layout, Ranker};
use crate::dictionary::Dictionary;
use crate::interactions::Interactions;
use crate::list::blend::Blend;
use crate::matrix_factorization::FactorModel;
use crate::matrix_factorization::fold_in::Objective;
use crate::matrix_factorization::linear::LinearModel;
use crate::similarity::{Neighbors, OverlapIndex, OverlapParams, discount_popular};
use crate::snapshot::{Snapshot, SnapshotError, SnapshotWriter};

/// What the snapshot says it is.
const KIND: &str = "ulex-model-set/1";

/// Why bytes are no ModelSet.
#[derive(Debug, Error)]
pub enum ModelSetError {
    /// They are no sound snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The description is not what this version expects.
    #[error("the description of the ModelSet cannot be read: {0}")]
    Description(#[from] serde_json::Error),
    /// Parts do not fit together.
    #[error("the ModelSet is inconsistent: {0}")]
    Inconsistent(String),
}

/// Everything that is not a tensor.
#[derive(Serialize, Deserialize)]
struct Description {
    manifest: Manifest,
    overlap: OverlapParams,
    popularity_discount: f32,
    collaborative: Vec<CollaborativeDescription>,
    /// Names, and whether recall has lists of its own.
    item_to_item: Vec<(String, bool)>,
    user_to_user: Vec<(String, bool)>,
    leaderboards: Vec<String>,
    ranker: Option<RankerDescription>,
    blend: Option<BlendDescription>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "form", rename_all = "snake_case")]
enum CollaborativeDescription {
    Factors {
        kind: String,
        factors: usize,
        objective: Objective,
        /// Users behind the products; 0 in a snapshot without them.
        #[serde(default)]
        users: usize,
    },
    Linear,
}

#[derive(Serialize, Deserialize)]
struct RankerDescription {
    layout: Layout,
    bias: f32,
    calibration: Calibration,
}

#[derive(Serialize, Deserialize)]
struct BlendDescription {
    scorers: Vec<String>,
    blend: Blend,
    slope: f32,
    intercept: f32,
}

impl ModelSet {
    /// The ModelSet as a snapshot; the same ModelSet gives the same bytes.
    ///
    /// # Errors
    ///
    /// [`ModelSetError`] if two parts have the same name.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ModelSetError> {
        Ok(self.tensors().finish(KIND, &serde_json::to_value(self.description())?)?)
    }

    /// Digest of what was learned, without id, epoch, time and measurements: two cycles over the same data with the same
    /// settings and seed have the same, whichever process ran them. Costs as much as [`ModelSet::to_bytes`].
    ///
    /// # Errors
    ///
    /// As [`ModelSet::to_bytes`].
    pub fn content_digest(&self) -> Result<String, ModelSetError> {
        let mut description = self.description();
        description.manifest = Manifest {
            id: String::new(),
            epoch: 0,
            created_ms: 0,
            content: String::new(),
            metrics: Default::default(),
            ..description.manifest
        };
        Ok(self.tensors().digest(KIND, &serde_json::to_value(description)?)?)
    }

    fn tensors(&self) -> SnapshotWriter {
        let mut writer = SnapshotWriter::default();
        write_dictionary(&mut writer, "users", &self.users);
        write_dictionary(&mut writer, "items", &self.items);
        write_interactions(&mut writer, "liked", &self.liked);
        for (number, model) in self.collaborative.iter().enumerate() {
            match model {
                Collaborative::Factors(factors) => {
                    writer.add_f32(format!("collaborative.{number}.items"), &factors.model.items);
                    if let Some(side) = &factors.item_side {
                        writer.add_f32(format!("collaborative.{number}.user_products"), &side.products);
                    }
                }
                Collaborative::Linear(linear) => {
                    write_interactions(&mut writer, &format!("collaborative.{number}.votes"), &linear.votes);
                    writer.add_f32(format!("collaborative.{number}.rest"), &linear.rest);
                }
            }
        }
        for (number, known) in self.item_to_item.iter().enumerate() {
            write_neighbors(&mut writer, &format!("item_to_item.{number}"), &known.neighbors);
            if let Some(recall) = &known.recall {
                write_neighbors(&mut writer, &format!("item_to_item.{number}.recall"), recall);
            }
        }
        for (number, known) in self.user_to_user.iter().enumerate() {
            write_neighbors(&mut writer, &format!("user_to_user.{number}"), &known.neighbors);
        }
        for (number, board) in self.leaderboards.iter().enumerate() {
            let (items, scores): (Vec<u32>, Vec<f64>) = board.entries.iter().copied().unzip();
            writer.add_u32(format!("leaderboard.{number}.items"), &items);
            writer.add_f64(format!("leaderboard.{number}.scores"), &scores);
        }
        if let Some(model) = &self.ranker {
            writer.add_f32("ranker.rows", &model.ranker.model().rows());
            writer.add_f32("ranker.interactions", model.ranker.model().interactions());
            model.users.write("ranker.users", &mut writer);
            model.items.write("ranker.items", &mut writer);
        }
        writer
    }

    fn description(&self) -> Description {
        let collaborative = self.collaborative.iter().map(|model| match model {
            Collaborative::Factors(factors) => CollaborativeDescription::Factors {
                kind: factors.kind.clone(),
                factors: factors.model.factors,
                objective: factors.objective,
                users: factors.item_side.as_ref().map_or(0, |side| side.users),
            },
            Collaborative::Linear(_) => CollaborativeDescription::Linear,
        });
        Description {
            manifest: self.manifest.clone(),
            overlap: *self.overlap.params(),
            popularity_discount: self.popularity_discount,
            collaborative: collaborative.collect(),
            item_to_item: self
                .item_to_item
                .iter()
                .map(|known| (known.name.clone(), known.recall.is_some()))
                .collect(),
            user_to_user: self
                .user_to_user
                .iter()
                .map(|known| (known.name.clone(), known.by_items))
                .collect(),
            leaderboards: self.leaderboards.iter().map(|board| board.name.clone()).collect(),
            ranker: self.ranker.as_ref().map(|model| RankerDescription {
                layout: model.layout.clone(),
                bias: model.ranker.model().bias(),
                calibration: model.ranker.calibration().clone(),
            }),
            blend: self.blend.as_ref().map(|blend| BlendDescription {
                scorers: blend.scorers.clone(),
                blend: blend.blend.clone(),
                slope: blend.slope,
                intercept: blend.intercept,
            }),
        }
    }

    /// Only the manifest of a snapshot, which is verified as a whole all the same.
    ///
    /// # Errors
    ///
    /// As [`ModelSet::from_bytes`].
    pub fn manifest_of(bytes: &[u8]) -> Result<Manifest, ModelSetError> {
        let snapshot = Snapshot::open(bytes, KIND)?;
        Ok(Description::deserialize(snapshot.description())?.manifest)
    }

    /// Reads a ModelSet back and verifies that its parts fit together.
    ///
    /// # Errors
    ///
    /// See [`ModelSetError`]; no input panics.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelSetError> {
        let snapshot = Snapshot::open(bytes, KIND)?;
        let description = Description::deserialize(snapshot.description())?;
        let users = read_dictionary(&snapshot, "users")?;
        let items = read_dictionary(&snapshot, "items")?;
        let (n_users, n_items) = (users.len(), items.len());
        let liked = read_interactions(&snapshot, "liked", n_users, n_items)?;
        let overlap = OverlapIndex::new(&liked, description.overlap);
        let popularity_discount = description.popularity_discount;
        if !popularity_discount.is_finite() {
            return Err(inconsistent("the popularity discount"));
        }
        let discounted = discount_popular(&liked, popularity_discount);
        let collaborative = description.collaborative.into_iter().enumerate();
        let collaborative = collaborative
            .map(|(number, known)| read_collaborative(&snapshot, number, known, n_items))
            .collect::<Result<_, _>>()?;
        let mut item_to_item = Vec::new();
        for (number, (name, own_recall)) in description.item_to_item.into_iter().enumerate() {
            let read =
                |part: &str| read_neighbors(&snapshot, &format!("item_to_item.{number}{part}"), n_items);
            let neighbors = Arc::new(read("")?);
            let recall = if own_recall { Some(Arc::new(read(".recall")?)) } else { None };
            item_to_item.push(ItemNeighbors { name, neighbors, recall });
        }
        let mut user_to_user = Vec::new();
        for (number, (name, by_items)) in description.user_to_user.into_iter().enumerate() {
            let neighbors = read_neighbors(&snapshot, &format!("user_to_user.{number}"), n_users)?;
            user_to_user.push(UserNeighbors { name, neighbors: Arc::new(neighbors), by_items });
        }
        let boards = description.leaderboards.into_iter().enumerate();
        let leaderboards = boards
            .map(|(number, name)| read_board(&snapshot, number, name, n_items))
            .collect::<Result<_, _>>()?;
        let ranker = description.ranker.map(|known| read_ranker(&snapshot, known, (n_users, n_items)));
        let blend = description.blend.map(|known| PipelineBlend {
            scorers: known.scorers,
            blend: known.blend,
            slope: known.slope,
            intercept: known.intercept,
        });
        if blend.as_ref().is_some_and(|blend| blend.scorers.len() != blend.blend.weights().len()) {
            return Err(ModelSetError::Inconsistent("the blend has another number of scorers".to_owned()));
        }
        Ok(Self {
            manifest: description.manifest,
            users,
            items,
            liked,
            overlap,
            popularity_discount,
            discounted,
            collaborative,
            item_to_item,
            user_to_user,
            leaderboards,
            ranker: ranker.transpose()?,
            blend,
        })
    }
}

fn inconsistent(part: &str) -> ModelSetError {
    ModelSetError::Inconsistent(format!("{part} does not fit"))
}

fn write_dictionary(writer: &mut SnapshotWriter, name: &str, dictionary: &Dictionary) {
    writer.add_bytes(format!("{name}.bytes"), dictionary.bytes());
    writer.add_u64(format!("{name}.ends"), dictionary.ends());
}

fn read_dictionary(snapshot: &Snapshot<'_>, name: &str) -> Result<Dictionary, ModelSetError> {
    let bytes = snapshot.bytes(&format!("{name}.bytes"))?;
    let ends = snapshot.u64s(&format!("{name}.ends"))?;
    Dictionary::from_parts(bytes, &ends).ok_or_else(|| inconsistent(name))
}

fn write_interactions(writer: &mut SnapshotWriter, name: &str, interactions: &Interactions) {
    writer.add_u64(format!("{name}.offsets"), interactions.offsets());
    writer.add_u32(format!("{name}.columns"), interactions.columns());
    writer.add_f32(format!("{name}.weights"), interactions.weights());
}

fn read_interactions(
    snapshot: &Snapshot<'_>,
    name: &str,
    n_rows: usize,
    n_cols: usize,
) -> Result<Interactions, ModelSetError> {
    let offsets = snapshot.u64s(&format!("{name}.offsets"))?;
    let columns = snapshot.u32s(&format!("{name}.columns"))?;
    let weights = snapshot.f32s(&format!("{name}.weights"))?;
    Interactions::from_parts(offsets, columns, weights, n_cols)
        .filter(|read| read.n_rows() == n_rows)
        .ok_or_else(|| inconsistent(name))
}

fn write_neighbors(writer: &mut SnapshotWriter, name: &str, neighbors: &Neighbors) {
    writer.add_u64(format!("{name}.offsets"), neighbors.offsets());
    writer.add_u32(format!("{name}.ids"), neighbors.ids());
    writer.add_f32(format!("{name}.scores"), neighbors.scores());
}

fn read_neighbors(snapshot: &Snapshot<'_>, name: &str, n_ids: usize) -> Result<Neighbors, ModelSetError> {
    let offsets = snapshot.u64s(&format!("{name}.offsets"))?;
    if offsets.is_empty() {
        return Ok(Neighbors::default());
    }
    let ids = snapshot.u32s(&format!("{name}.ids"))?;
    let scores = snapshot.f32s(&format!("{name}.scores"))?;
    Neighbors::from_parts(offsets, ids, scores, n_ids).ok_or_else(|| inconsistent(name))
}

fn read_collaborative(
    snapshot: &Snapshot<'_>,
    number: usize,
    known: CollaborativeDescription,
    n_items: usize,
) -> Result<Collaborative, ModelSetError> {
    let name = format!("collaborative.{number}");
    match known {
        CollaborativeDescription::Factors { kind, factors: k, objective, users } => {
            let items = snapshot.f32s(&format!("{name}.items"))?;
            if k.checked_mul(n_items) != Some(items.len()) {
                return Err(inconsistent(&name));
            }
            let model = FactorModel { factors: k, users: Vec::new(), items };
            let factors = Factors::new(kind, model, objective);
            let mut factors = factors.map_err(|reason| ModelSetError::Inconsistent(reason.to_string()))?;
            if users > 0 {
                let products = snapshot.f32s(&format!("{name}.user_products"))?;
                let side = ItemSide::new(products, users, k, objective);
                factors.item_side = Some(side.ok_or_else(|| inconsistent(&name))?);
            }
            Ok(Collaborative::Factors(factors))
        }
        CollaborativeDescription::Linear => {
            let votes = read_interactions(snapshot, &format!("{name}.votes"), n_items, n_items)?;
            let rest = snapshot.f32s(&format!("{name}.rest"))?;
            if rest.len() != n_items {
                return Err(inconsistent(&name));
            }
            Ok(Collaborative::Linear(LinearModel { votes, rest }))
        }
    }
}

fn read_board(
    snapshot: &Snapshot<'_>,
    number: usize,
    name: String,
    n_items: usize,
) -> Result<Leaderboard, ModelSetError> {
    let items = snapshot.u32s(&format!("leaderboard.{number}.items"))?;
    let scores = snapshot.f64s(&format!("leaderboard.{number}.scores"))?;
    if items.len() != scores.len() || items.iter().any(|&item| item as usize >= n_items) {
        return Err(inconsistent(&name));
    }
    Ok(Leaderboard { name, entries: items.into_iter().zip(scores).collect() })
}

fn read_ranker(
    snapshot: &Snapshot<'_>,
    known: RankerDescription,
    (n_users, n_items): (usize, usize),
) -> Result<RankerModel, ModelSetError> {
    let rows = snapshot.f32s("ranker.rows")?;
    let interactions = snapshot.f32s("ranker.interactions")?;
    let users = FeatureRows::read("ranker.users", snapshot)?;
    let items = FeatureRows::read("ranker.items", snapshot)?;
    let n_features = known.layout.n_features();
    if users.len() != n_users + 1
        || items.len() != n_items
        || !users.fits(n_features)
        || !items.fits(n_features)
    {
        return Err(inconsistent("ranker"));
    }
    let machine = FactorizationMachine::from_parts(&known.layout, &rows, &interactions, known.bias);
    let machine = machine.map_err(|reason| ModelSetError::Inconsistent(reason.to_string()))?;
    let ranker = Ranker::new(machine, known.calibration, &items);
    Ok(RankerModel { layout: known.layout, ranker, users, items })
}
