//! Randomness as an argument: one seed for everything, one derived seed per purpose.
//!
//! A purpose that draws more numbers, or a new purpose, does not shift the numbers of any other. The sequences are
//! ours from the raw bits up (ChaCha with 8 rounds, integer ranges by multiplication, normals by Box and Muller), so
//! they do not change when a dependency changes its mind about distributions.

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

/// Where a sequence starts. Equal seeds give equal sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(u64);

impl Seed {
    /// The seed everything else is derived from.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed for a named purpose, for example `"bpr.negatives"`.
    #[must_use]
    pub fn purpose(self, name: &str) -> Self {
        // FNV-1a, then mixed.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(split_mix(self.0 ^ split_mix(hash)))
    }

    /// The seed for part `index` of a purpose: an epoch, a fold, a block.
    #[must_use]
    pub fn part(self, index: u64) -> Self {
        Self(split_mix(self.0.wrapping_add(split_mix(index ^ 0x5bf0_3635_d0c1_3a27))))
    }

    /// The number behind the seed.
    #[must_use]
    pub fn value(self) -> u64 {
        self.0
    }

    /// The sequence of this seed.
    #[must_use]
    pub fn generator(self) -> Generator {
        let mut state = self.0;
        let mut key = [0_u8; 32];
        for word in key.chunks_exact_mut(8) {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            word.copy_from_slice(&split_mix(state).to_le_bytes());
        }
        Generator(ChaCha8Rng::from_seed(key))
    }
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014).
fn split_mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A reproducible sequence.
#[derive(Debug)]
pub struct Generator(ChaCha8Rng);

impl Generator {
    /// 32 random bits.
    #[inline]
    pub fn bits(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// Uniform in `0..bound`; 0 if `bound` is 0. Exactly uniform (Lemire 2019).
    #[inline]
    pub fn below(&mut self, bound: u32) -> u32 {
        let mut wide = u64::from(self.bits()) * u64::from(bound);
        if (wide as u32) < bound {
            let threshold = bound.wrapping_neg() % bound;
            while (wide as u32) < threshold {
                wide = u64::from(self.bits()) * u64::from(bound);
            }
        }
        (wide >> 32) as u32
    }

    /// Uniform in `[0, 1)`, a multiple of 2⁻²⁴.
    #[inline]
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 8) as f32 * (1.0 / (1 << 24) as f32)
    }

    /// Normal with mean 0 and deviation 1.
    #[inline]
    pub fn normal(&mut self) -> f32 {
        let radius = f64::from(1.0 - self.unit()).ln() * -2.0;
        let angle = f64::from(self.unit()) * std::f64::consts::TAU;
        (radius.sqrt() * angle.cos()) as f32
    }

    /// Puts the elements in random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, elements: &mut [T]) {
        for last in (1..elements.len()).rev() {
            let other = self.below(u32::try_from(last + 1).expect("fewer than 2^32 elements")) as usize;
            elements.swap(last, other);
        }
    }

    /// The generator underneath, for distributions of other crates.
    pub fn inner(&mut self) -> &mut ChaCha8Rng {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_the_same_on_every_machine_and_in_every_version() {
        let mut random = Seed::new(1).purpose("test").part(2).generator();
        let drawn = [random.below(1000), random.below(1000), random.below(1000)];
        assert_eq!(drawn, [254, 890, 222]);
    }

    #[test]
    fn purposes_and_parts_do_not_repeat_each_other() {
        let seed = Seed::new(7);
        let mut values = vec![seed.value(), seed.purpose("a").value(), seed.purpose("b").value()];
        values.extend((0..100).map(|part| seed.part(part).value()));
        values.extend((0..100).map(|part| seed.purpose("a").part(part).value()));
        values.sort_unstable();
        values.dedup();
        assert_eq!(values.len(), 203);
    }

    #[test]
    fn ranges_are_uniform_and_normals_normal() {
        let mut random = Seed::new(5).generator();
        let mut counts = [0_u32; 6];
        for _ in 0..60_000 {
            counts[random.below(6) as usize] += 1;
        }
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 400), "{counts:?}");
        let normals: Vec<f64> = (0..60_000).map(|_| f64::from(random.normal())).collect();
        let mean = normals.iter().sum::<f64>() / 6e4;
        let variance = normals.iter().map(|value| value * value).sum::<f64>() / 6e4;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        assert_eq!(random.below(0), 0);
    }

    #[test]
    fn shuffling_keeps_the_elements() {
        let mut elements: Vec<u32> = (0..100).collect();
        Seed::new(1).generator().shuffle(&mut elements);
        assert!(!elements.is_sorted());
        elements.sort_unstable();
        assert!(elements.into_iter().eq(0..100));
    }
}
