//! Shapes with a symbolic batch dimension.

use std::fmt;

/// The extent of one dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dim {
    /// Known when the graph is built.
    Fixed(usize),
    /// The batch size: known when a plan is compiled.
    Batch,
}

/// The shape of a value, in PyTorch's order (`[batch, channels, height, width]`).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Shape(Vec<Dim>);

impl Shape {
    /// A shape of the given dimensions.
    pub fn new(dims: Vec<Dim>) -> Self {
        Self(dims)
    }

    /// `[B, dims...]`: a batch of samples, each of shape `dims`.
    pub fn batched(dims: &[usize]) -> Self {
        Self(
            std::iter::once(Dim::Batch)
                .chain(dims.iter().copied().map(Dim::Fixed))
                .collect(),
        )
    }

    /// The dimensions, first to last.
    pub fn dims(&self) -> &[Dim] {
        &self.0
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// The extents after a batch dimension, if the shape is `[B, fixed...]`.
    pub fn sample(&self) -> Option<Vec<usize>> {
        match self.0.split_first() {
            Some((Dim::Batch, rest)) => rest
                .iter()
                .map(|d| match d {
                    Dim::Fixed(n) => Some(*n),
                    Dim::Batch => None,
                })
                .collect(),
            _ => None,
        }
    }

    /// Elements of one sample: the product of all fixed dimensions.
    pub fn sample_len(&self) -> usize {
        self.bind(1).iter().product()
    }

    /// The extents with the batch size filled in.
    pub fn bind(&self, batch: usize) -> Vec<usize> {
        self.0
            .iter()
            .map(|d| match d {
                Dim::Fixed(n) => *n,
                Dim::Batch => batch,
            })
            .collect()
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, dim) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            match dim {
                Dim::Fixed(n) => write!(f, "{n}")?,
                Dim::Batch => f.write_str("B")?,
            }
        }
        f.write_str("]")
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binding_fills_in_the_batch_size() {
        let shape = Shape::batched(&[3, 4, 5]);
        assert_eq!(shape.bind(7), [7, 3, 4, 5]);
        assert_eq!(shape.sample(), Some(vec![3, 4, 5]));
        assert_eq!(shape.sample_len(), 60);
        assert_eq!(shape.to_string(), "[B, 3, 4, 5]");
    }
}
