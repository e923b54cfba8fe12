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
//! | bias, in a network with batch norms | 0 | 0.1 |
//! | bias, in a network without | 0 (*) | 1 |
//! | batch norm weight | 0.5; with ReLU6 1 | 0.125; with ReLU6 0.25 |
//! | batch norm bias | 0 (*); with ReLU6 3 | 1; with ReLU6 0.5 |
//! | running mean | 0 | 0.1 |
//! | running variance | 1; with ReLU6 20 | 0.5; with ReLU6 10 |
//! | image | 0 | 2 |
//!
//! "With ReLU6" means in a network that has a ReLU6 anywhere. (*) Moved away from zero by 1 after rounding:
//! `value + sign(value)` in single precision.
//!
//! The shifts are chosen so that few values come near a kink of the activation behind them (0 of ReLU, 0 and 6 of
//! ReLU6) while both sides of it are used. With a fresh network's shifts, one value in a million falls on the other
//! side of a kink by rounding, and a deep network turns that into gradients that differ in the second digit between two
//! correct implementations.

use regraft_graph::{Activation, Graph, HostTensor, Op, Parameter, ParameterKind, StateDict};

/// The values of all parameters and buffers of a graph, each keyed by its name.
pub fn state_dict(graph: &Graph) -> StateDict {
    let contains = |wanted: fn(&Op) -> bool| graph.nodes().iter().any(|n| wanted(&n.op));
    let network = Network {
        norms: contains(|op| matches!(op, Op::BatchNorm2d(_))),
        relu6: contains(|op| *op == Op::Activation(Activation::Relu6)),
    };
    graph
        .parameters()
        .iter()
        .map(|p| (p.name.clone(), parameter(p, network)))
        .collect()
}

/// What the values depend on besides the parameter itself.
#[derive(Clone, Copy)]
struct Network {
    norms: bool,
    relu6: bool,
}

fn parameter(parameter: &Parameter, network: Network) -> HostTensor {
    let fill = |offset, scale| tensor(&parameter.name, &parameter.shape, offset, scale);
    match parameter.kind {
        ParameterKind::Weight => {
            let fan_in: usize = parameter.shape.iter().skip(1).product();
            fill(0.0, (6.0 / fan_in as f64).sqrt())
        }
        ParameterKind::Bias if network.norms => fill(0.0, 0.1),
        ParameterKind::NormWeight if network.relu6 => fill(1.0, 0.25),
        ParameterKind::NormWeight => fill(0.5, 0.125),
        ParameterKind::NormBias if network.relu6 => fill(3.0, 0.5),
        ParameterKind::Bias | ParameterKind::NormBias => away_from_zero(fill(0.0, 1.0)),
        ParameterKind::RunningMean => fill(0.0, 0.1),
        ParameterKind::RunningVar if network.relu6 => fill(20.0, 10.0),
        ParameterKind::RunningVar => fill(1.0, 0.5),
    }
}

fn away_from_zero(mut tensor: HostTensor) -> HostTensor {
    // `signum` of zero is one; the rule's `sign` is zero there.
    for value in tensor.data.iter_mut().filter(|v| **v != 0.0) {
        *value += value.signum();
    }
    tensor
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
