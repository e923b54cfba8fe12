//! Random numbers that depend on what they are for, not on who asks first.
//!
//! Every sample of every epoch has its own stream, a function of (seed, epoch, sample index). So augmentation is the
//! same with any number of worker threads, and after a resume.

/// A stream of random numbers: SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub struct SampleRng {
    state: u64,
}

impl SampleRng {
    /// The stream of sample `index` in `epoch`.
    pub fn new(seed: u64, epoch: u64, index: u64) -> Self {
        let state = mix(mix(mix(seed).wrapping_add(epoch)).wrapping_add(index));
        Self { state }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let value = mix(self.state);
        self.state = self.state.wrapping_add(GOLDEN_GAMMA);
        value
    }

    /// Uniform in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `[low, high)`.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Uniform in `0..bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        // The high half of a 64 x 64 bit product; its bias is below 2^-32 for any bound that fits an image or data set.
        ((u128::from(self.next_u64()) * bound as u128) >> 64) as usize
    }
}

/// The order in which an epoch visits `len` samples: a random permutation, a function of (seed, epoch).
pub fn shuffled_indices(len: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    // A stream of its own: no sample has this index.
    let mut rng = SampleRng::new(seed, epoch, u64::MAX);
    for last in (1..len).rev() {
        order.swap(last, rng.below(last + 1));
    }
    order
}

const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(GOLDEN_GAMMA);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_by_seed_epoch_and_index() {
        let first = |seed, epoch, index| SampleRng::new(seed, epoch, index).next_u64();
        let all = [
            first(0, 0, 0),
            first(1, 0, 0),
            first(0, 1, 0),
            first(0, 0, 1),
        ];
        for (i, a) in all.iter().enumerate() {
            for b in &all[i + 1..] {
                assert_ne!(a, b);
            }
        }
    }

    #[test]
    fn numbers_are_uniform() {
        let mut rng = SampleRng::new(7, 0, 0);
        let mut counts = [0; 10];
        for _ in 0..10_000 {
            counts[rng.below(10)] += 1;
        }
        assert!(
            counts.iter().all(|count| (900..1100).contains(count)),
            "{counts:?}"
        );
        let mean = (0..10_000).map(|_| rng.uniform(2.0, 4.0)).sum::<f64>() / 10_000.0;
        assert!((mean - 3.0).abs() < 0.02, "{mean}");
        assert_eq!(rng.below(0), 0);
    }

    #[test]
    fn an_epoch_visits_every_sample_in_a_new_order() {
        let first = shuffled_indices(1000, 3, 0);
        assert_eq!(first, shuffled_indices(1000, 3, 0));
        assert_ne!(first, shuffled_indices(1000, 3, 1));
        let mut sorted = first;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
    }
}
