//! Deterministic synthetic weights and images, for tests that compare with another implementation without shipping its
//! weights.
//!
//! Every value is a function of a name and an index, the same to the last bit in any language with 64-bit integers and
//! IEEE doubles. With all arithmetic on `u64` wrapping:
//!
//! ```text
//! seed    = FNV-1a 64 of the name's UTF-8 bytes (offset 0xcbf29ce484222325, prime 0x100000001b3)
//! z       = seed + (index + 1) * 0x9e3779b97f4a7c15                  SplitMix64, element `index` (row-major, from 0)
//! z       = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
//! z       = (z ^ (z >> 27)) * 0x94d049bb133111eb
//! z       =  z ^ (z >> 31)
//! u       = (z >> 40) * 2^-23 - 1                                    uniform in [-1, 1), exact
//! value   = f32(offset + scale * u)                                  in double precision, rounded once
//! ```
//!
//! | kind | offset | scale |
//! |---|---|---|
//! | weight of a convolution or linear layer | 0 | `sqrt(6 / fan_in)`, `fan_in` = product of the extents after the first |
//! | bias | 0 | 0.1 |
//! | batch norm weight | 1 | 0.25 |
//! | batch norm bias | 0 | 0.1 |
//! | running mean | 0 | 0.1 |
//! | running variance | 1 | 0.5 |
//! | image | 0 | 2 |

use regraft_graph::{Graph, HostTensor, Parameter, ParameterKind, StateDict};

/// The values of all parameters and buffers of a graph, each keyed by its name.
pub fn state_dict(graph: &Graph) -> StateDict {
    graph
        .parameters()
        .iter()
        .map(|p| (p.name.clone(), parameter(p)))
        .collect()
}

/// The value of one parameter.
pub fn parameter(parameter: &Parameter) -> HostTensor {
    let (offset, scale) = match parameter.kind {
        ParameterKind::Weight => {
            let fan_in: usize = parameter.shape.iter().skip(1).product();
            (0.0, (6.0 / fan_in as f64).sqrt())
        }
        ParameterKind::Bias | ParameterKind::NormBias | ParameterKind::RunningMean => (0.0, 0.1),
        ParameterKind::NormWeight => (1.0, 0.25),
        ParameterKind::RunningVar => (1.0, 0.5),
    };
    tensor(&parameter.name, &parameter.shape, offset, scale)
}

/// A batch of images, `[B, C, H, W]`, named `image`; about as spread as normalised photos.
pub fn images(shape: [usize; 4]) -> HostTensor {
    tensor("image", &shape, 0.0, 2.0)
}

/// `offset + scale * u` for every element of a tensor of this name.
pub fn tensor(name: &str, shape: &[usize], offset: f64, scale: f64) -> HostTensor {
    let seed = fnv1a64(name.as_bytes());
    HostTensor {
        shape: shape.to_vec(),
        data: (0..shape.iter().product::<usize>() as u64)
            .map(|index| (offset + scale * uniform(seed, index)) as f32)
            .collect(),
    }
}

/// Uniform in `[-1, 1)` with 24 bits.
fn uniform(seed: u64, index: u64) -> f64 {
    const STEP: f64 = 1.0 / (1u64 << 23) as f64;
    (splitmix64(seed, index) >> 40) as f64 * STEP - 1.0
}

/// Element `index` of the SplitMix64 sequence that starts at `seed`.
fn splitmix64(seed: u64, index: u64) -> u64 {
    let z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// FNV-1a, 64 bits.
pub fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_and_sequence_are_the_published_ones() {
        // Test vectors of FNV-1a and of Vigna's splitmix64.c with seed 1234567.
        assert_eq!(fnv1a64(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a64(b"foobar"), 0x8594_4171_f739_67e8);
        let sequence: Vec<_> = (0..3).map(|i| splitmix64(1_234_567, i)).collect();
        assert_eq!(
            sequence,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn values_fill_their_interval() {
        let values = tensor("conv1.weight", &[10_000], 1.0, 0.5).data;
        let mean = values.iter().sum::<f32>() / 10_000.0;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        assert!(values.iter().all(|v| (0.5..1.5).contains(v)));
        assert!(values.iter().any(|v| *v < 0.51) && values.iter().any(|v| *v > 1.49));
    }
}
