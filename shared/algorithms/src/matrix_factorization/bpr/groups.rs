//! Users and items in groups, so that threads never share a vector.

use rayon::prelude::*;

use crate::interactions::Interactions;
use crate::random::Seed;

/// A touched pair: the user, and where the item is in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) user: u32,
    pub(super) place: u32,
}

/// How many groups these data are divided into, at most 16: a group needs items enough to draw negatives from.
pub(super) fn group_count(interactions: &Interactions) -> usize {
    (interactions.n_cols() / 128).min(interactions.n_rows() / 16).clamp(1, 16)
}

/// Consecutive users, about equally many pairs in each group.
pub(super) struct UserGroups {
    bounds: Vec<usize>,
}

impl UserGroups {
    pub(super) fn new(interactions: &Interactions, groups: usize) -> Self {
        let offsets = interactions.offsets();
        let bound = |group: usize| {
            let target = interactions.len() as u64 * group as u64 / groups as u64;
            offsets.partition_point(|&offset| offset < target).min(interactions.n_rows())
        };
        let mut bounds: Vec<usize> = (0..groups).map(bound).collect();
        bounds.push(interactions.n_rows());
        Self { bounds }
    }

    /// The first user of a group.
    pub(super) fn first(&self, group: usize) -> usize {
        self.bounds[group]
    }

    /// Each group's rows.
    pub(super) fn split<'a>(&self, mut rows: &'a mut [f32], width: usize) -> Vec<&'a mut [f32]> {
        let sizes = self.bounds.windows(2).map(|bounds| (bounds[1] - bounds[0]) * width);
        sizes.map(|size| rows.split_off_mut(..size).expect("bounds ascend to the number of users")).collect()
    }

    /// For each user group, for each item group, the pairs between them.
    pub(super) fn pairs(&self, interactions: &Interactions, items: &ItemGroups) -> Vec<Vec<Vec<Pair>>> {
        let of_group = |bounds: &[usize]| {
            let mut pairs = vec![Vec::new(); items.len()];
            let touches = |user: usize| interactions.row(user).0.iter().map(move |&item| (user, item));
            for (user, item) in (bounds[0]..bounds[1]).flat_map(touches) {
                let position = items.position[item as usize] as usize;
                let place = (position % items.size) as u32;
                pairs[position / items.size].push(Pair { user: user as u32, place });
            }
            pairs
        };
        self.bounds.par_windows(2).map(of_group).collect()
    }
}

/// Items in random order, cut into groups of one size (the last may be smaller), their vectors copied in that order.
pub(super) struct ItemGroups {
    size: usize,
    /// Item at each position.
    order: Vec<u32>,
    /// Position of each item.
    position: Vec<u32>,
    vectors: Vec<f32>,
}

impl ItemGroups {
    pub(super) fn new(vectors: &[f32], width: usize, groups: usize, seed: Seed) -> Self {
        let n_items = vectors.len() / width;
        let mut order: Vec<u32> = (0..n_items as u32).collect();
        seed.purpose("bpr.items").generator().shuffle(&mut order);
        let mut position = vec![0; n_items];
        for (at, &item) in order.iter().enumerate() {
            position[item as usize] = at as u32;
        }
        let mut copy = vec![0.0; vectors.len()];
        copy.par_chunks_mut(width).zip(&order).for_each(|(row, &item)| {
            row.copy_from_slice(&vectors[item as usize * width..][..width]);
        });
        Self { size: n_items.div_ceil(groups).max(1), order, position, vectors: copy }
    }

    /// Number of groups.
    pub(super) fn len(&self) -> usize {
        self.order.len().div_ceil(self.size)
    }

    /// The items of each group.
    pub(super) fn members(&self) -> impl Iterator<Item = &[u32]> {
        self.order.chunks(self.size)
    }

    /// Each group's items and rows.
    pub(super) fn split(&mut self, width: usize) -> Vec<(&[u32], &mut [f32])> {
        self.order.chunks(self.size).zip(self.vectors.chunks_mut(self.size * width)).collect()
    }

    /// Copies the vectors back to where they belong.
    pub(super) fn restore(&self, vectors: &mut [f32]) {
        let Some(width) = vectors.len().checked_div(self.order.len()) else { return };
        vectors.par_chunks_mut(width.max(1)).zip(&self.position).for_each(|(row, &position)| {
            row.copy_from_slice(&self.vectors[position as usize * width..][..width]);
        });
    }
}
