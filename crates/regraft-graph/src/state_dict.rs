//! Parameter values by name.

use crate::error::GraphError;
use crate::graph::Graph;
use std::collections::BTreeMap;

/// A dense row-major array in host memory.
#[derive(Debug, Clone, PartialEq)]
pub struct HostTensor {
    /// Extents in PyTorch's order.
    pub shape: Vec<usize>,
    /// The elements, last dimension fastest.
    pub data: Vec<f32>,
}

impl HostTensor {
    /// An array of one value.
    pub fn full(shape: &[usize], value: f32) -> Self {
        Self {
            shape: shape.to_vec(),
            data: vec![value; shape.iter().product()],
        }
    }
}

/// Values of parameters and buffers, by name: PyTorch's `state_dict`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StateDict {
    tensors: BTreeMap<String, HostTensor>,
}

impl StateDict {
    /// No values.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a value, replacing an earlier one.
    pub fn insert(&mut self, name: impl Into<String>, tensor: HostTensor) {
        self.tensors.insert(name.into(), tensor);
    }

    /// The value of this name.
    pub fn get(&self, name: &str) -> Option<&HostTensor> {
        self.tensors.get(name)
    }

    /// The value of this name, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut HostTensor> {
        self.tensors.get_mut(name)
    }

    /// Takes a value out.
    pub fn remove(&mut self, name: &str) -> Option<HostTensor> {
        self.tensors.remove(name)
    }

    /// All values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &HostTensor)> {
        self.tensors.iter().map(|(n, t)| (n.as_str(), t))
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// True if there are no values.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// The value of a parameter, with its shape checked.
    ///
    /// # Errors
    /// [`GraphError::MissingValue`] and [`GraphError::ValueShape`].
    pub fn value(&self, name: &str, shape: &[usize]) -> Result<&HostTensor, GraphError> {
        let tensor = self.get(name).ok_or_else(|| GraphError::MissingValue {
            name: name.to_owned(),
        })?;
        if tensor.shape == shape && tensor.data.len() == shape.iter().product::<usize>() {
            Ok(tensor)
        } else {
            Err(GraphError::ValueShape {
                name: name.to_owned(),
                expected: shape.to_vec(),
                got: tensor.shape.clone(),
            })
        }
    }

    /// Checks that every parameter of the graph has a value of its shape.
    ///
    /// # Errors
    /// [`GraphError::MissingValue`] and [`GraphError::ValueShape`] for the first that has not.
    pub fn check(&self, graph: &Graph) -> Result<(), GraphError> {
        graph
            .parameters()
            .iter()
            .try_for_each(|p| self.value(&p.name, &p.shape).map(drop))
    }
}

impl FromIterator<(String, HostTensor)> for StateDict {
    fn from_iter<I: IntoIterator<Item = (String, HostTensor)>>(iter: I) -> Self {
        Self {
            tensors: iter.into_iter().collect(),
        }
    }
}

impl IntoIterator for StateDict {
    type Item = (String, HostTensor);
    type IntoIter = std::collections::btree_map::IntoIter<String, HostTensor>;

    fn into_iter(self) -> Self::IntoIter {
        self.tensors.into_iter()
    }
}
