//! Fresh values for parameters that no checkpoint gives, such as those of a new head.
//!
//! Each element is a function of the seed, the parameter's name and its position alone, so neither the order in which
//! parameters are drawn nor the number of threads changes a bit. The distributions are PyTorch's; the numbers are not,
//! because its generator cannot be entered at a position.

use regraft_graph::{Graph, GraphError, HostTensor, Init, Parameter, StateDict};

/// Draws a fresh value.
pub fn draw(parameter: &Parameter, seed: u64) -> HostTensor {
    let random = Counter::new(&parameter.name, seed);
    let data = match parameter.init {
        Init::Zeros => vec![0.0; parameter.len()],
        Init::Ones => vec![1.0; parameter.len()],
        Init::Uniform { bound } => (0..parameter.len() as u64)
            .map(|i| (f64::from(bound) * (2.0 * random.uniform(i) - 1.0)) as f32)
            .collect(),
        Init::Normal { std } => (0..parameter.len() as u64)
            .map(|i| (f64::from(std) * random.normal(i)) as f32)
            .collect(),
    };
    HostTensor {
        shape: parameter.shape.clone(),
        data,
    }
}

/// Draws a value for every parameter of the graph that `state` has none for. Returns the names that were drawn.
///
/// # Errors
/// [`GraphError::ValueShape`] if a value that is there has another shape than its parameter.
pub fn fill_missing(
    graph: &Graph,
    state: &mut StateDict,
    seed: u64,
) -> Result<Vec<String>, GraphError> {
    let mut drawn = Vec::new();
    for parameter in graph.parameters() {
        if state.get(&parameter.name).is_none() {
            state.insert(&parameter.name, draw(parameter, seed));
            drawn.push(parameter.name.clone());
        }
    }
    state.check(graph)?;
    Ok(drawn)
}

/// Random numbers by position: SplitMix64 (Steele, Lea & Flood 2014), whose state is a counter.
struct Counter {
    key: u64,
}

impl Counter {
    fn new(name: &str, seed: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes()).update(name.as_bytes());
        let mut key = [0; 8];
        hasher.finalize_xof().fill(&mut key);
        Self {
            key: u64::from_le_bytes(key),
        }
    }

    fn bits(&self, position: u64) -> u64 {
        let counter = position.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut z = self.key.wrapping_add(counter);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `[0, 1)`.
    fn uniform(&self, position: u64) -> f64 {
        (self.bits(position) >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// Standard normal, by the Box-Muller transform of two positions.
    fn normal(&self, position: u64) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform(2 * position)).ln()).sqrt();
        let angle = std::f64::consts::TAU * self.uniform(2 * position + 1);
        radius * angle.cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regraft_graph::{GraphBuilder, Linear, ParameterKind, Shape};

    fn parameter(name: &str, shape: &[usize], init: Init) -> Parameter {
        Parameter {
            name: name.to_owned(),
            shape: shape.to_vec(),
            kind: ParameterKind::Weight,
            init,
            trainable: true,
        }
    }

    fn mean_and_std(data: &[f32]) -> (f64, f64) {
        let n = data.len() as f64;
        let mean = data.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
        let var = data
            .iter()
            .map(|x| (f64::from(*x) - mean).powi(2))
            .sum::<f64>()
            / n;
        (mean, var.sqrt())
    }

    #[test]
    fn draws_depend_on_seed_and_name_alone() {
        let weight = parameter("fc.weight", &[3, 5], Init::Uniform { bound: 0.5 });
        assert_eq!(draw(&weight, 1), draw(&weight, 1));
        assert_ne!(draw(&weight, 1), draw(&weight, 2));
        let other = parameter("fc2.weight", &[3, 5], Init::Uniform { bound: 0.5 });
        assert_ne!(draw(&weight, 1), draw(&other, 1));
    }

    #[test]
    fn draws_follow_their_distribution() {
        let uniform = draw(
            &parameter("u", &[200, 200], Init::Uniform { bound: 0.5 }),
            0,
        );
        assert!(uniform.data.iter().all(|x| x.abs() <= 0.5));
        let (mean, std) = mean_and_std(&uniform.data);
        assert!(mean.abs() < 5e-3 && (std - 0.5 / 3_f64.sqrt()).abs() < 5e-3);

        let normal = draw(&parameter("n", &[200, 200], Init::Normal { std: 0.1 }), 0);
        let (mean, std) = mean_and_std(&normal.data);
        assert!(mean.abs() < 2e-3 && (std - 0.1).abs() < 2e-3);
        let beyond = normal.data.iter().filter(|x| x.abs() > 0.2).count() as f64;
        let share = beyond / normal.data.len() as f64;
        assert!(
            (share - 0.0455).abs() < 5e-3,
            "{share} lies beyond two sigma"
        );
    }

    #[test]
    fn only_missing_values_are_drawn() {
        let mut b = GraphBuilder::new();
        let x = b.input("x", Shape::batched(&[4]));
        let x = b.linear("fc", x, Linear::new(4, 2)).unwrap();
        let graph = b.finish(&[("logits", x)]).unwrap();
        let mut state = StateDict::new();
        state.insert("fc.weight", HostTensor::full(&[2, 4], 7.0));
        let drawn = fill_missing(&graph, &mut state, 0).unwrap();
        assert_eq!(drawn, ["fc.bias"]);
        assert_eq!(
            state.get("fc.weight"),
            Some(&HostTensor::full(&[2, 4], 7.0))
        );
        assert!(
            state
                .get("fc.bias")
                .unwrap()
                .data
                .iter()
                .all(|x| x.abs() <= 0.5)
        );
    }

    #[test]
    fn a_value_of_another_shape_is_an_error() {
        let mut b = GraphBuilder::new();
        let x = b.input("x", Shape::batched(&[4]));
        let x = b.linear("fc", x, Linear::new(4, 2)).unwrap();
        let graph = b.finish(&[("logits", x)]).unwrap();
        let mut state = StateDict::new();
        state.insert("fc.weight", HostTensor::full(&[3, 4], 7.0));
        assert!(matches!(
            fill_missing(&graph, &mut state, 0),
            Err(GraphError::ValueShape { .. })
        ));
    }
}
