//! What a gradient is the sum of, and how it is added up in few passes over memory.

use super::Lowering;
use crate::program::{Kernel, Place, ValueId};
use regraft_graph::NodeId;

/// One addend of the gradient of a node's output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Term {
    pub(super) value: ValueId,
    /// Whether nothing else reads the value, so that it may be overwritten.
    pub(super) owned: bool,
    pub(super) extent: Extent,
}

/// How a term covers the output. All but whole ones wait until the terms are added up: written out by themselves they
/// would cost passes over memory that the sum makes anyway.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Extent {
    /// All of it.
    Whole,
    /// All of it, to be scaled by a gate: one factor for each channel of each image.
    Gated(ValueId),
    /// One value for each channel of each image, to be shared among its positions.
    Mean,
    /// The channels from here on.
    Channels(usize),
}

impl Term {
    pub(super) fn owned(value: ValueId) -> Self {
        Self {
            value,
            owned: true,
            extent: Extent::Whole,
        }
    }

    pub(super) fn shared(value: ValueId) -> Self {
        Self {
            owned: false,
            ..Self::owned(value)
        }
    }
}

impl Lowering<'_> {
    /// All terms as one value, whole.
    pub(super) fn summed(&mut self, root: NodeId, arrived: &[Term]) -> Term {
        let mut whole: Vec<Term> = Vec::new();
        let mut gated = Vec::new();
        let mut means = Vec::new();
        let mut parts = Vec::new();
        for term in arrived {
            match term.extent {
                Extent::Whole => whole.push(*term),
                Extent::Gated(gate) => gated.push((*term, gate)),
                Extent::Mean => means.push(term.value),
                Extent::Channels(first) => parts.push((first, term.value)),
            }
        }
        whole.extend(self.joined(root, parts));
        for (term, gate) in gated {
            whole.push(self.scaled(root, term, Some(gate), means.pop()));
        }
        for mean in means {
            let term = if let Some(term) = whole.pop() {
                self.scaled(root, term, None, Some(mean))
            } else {
                let dx = self.gradient_of(root);
                self.push(root, Kernel::GlobalAvgPoolBackward { dy: mean, dx });
                Term::owned(dx)
            };
            whole.push(term);
        }
        self.sum_of_whole(root, whole)
    }

    /// Gradients of some of the channels as gradients of all: put side by side if each channel has one.
    fn joined(&mut self, root: NodeId, mut parts: Vec<(usize, ValueId)>) -> Vec<Term> {
        parts.sort_by_key(|(first, _)| *first);
        let mut end = 0;
        let tile = parts.iter().all(|(first, value)| {
            let fits = *first == end;
            end += self.program.value(*value).dims[1];
            fits
        });
        if tile && !parts.is_empty() && end == self.dims(root)[1] {
            let y = self.gradient_of(root);
            let inputs = parts.into_iter().map(|(_, value)| value).collect();
            self.push(root, Kernel::Concat { inputs, y });
            return vec![Term::owned(y)];
        }
        parts
            .into_iter()
            .map(|(first, x)| {
                let y = self.gradient_of(root);
                self.push(root, Kernel::PadChannels { first, x, y });
                Term::owned(y)
            })
            .collect()
    }

    /// A term scaled by a gate, with the shares of a mean added.
    fn scaled(
        &mut self,
        root: NodeId,
        term: Term,
        gate: Option<ValueId>,
        mean: Option<ValueId>,
    ) -> Term {
        let y = if term.owned {
            term.value
        } else {
            self.gradient_of(root)
        };
        let x = term.value;
        self.push(root, Kernel::ScaleChannels { x, gate, mean, y });
        Term::owned(y)
    }

    fn sum_of_whole(&mut self, root: NodeId, mut terms: Vec<Term>) -> Term {
        if let [term] = terms.as_slice() {
            return *term;
        }
        // In place if there is a term that may be overwritten; it comes first.
        terms.sort_by_key(|t| !t.owned);
        let y = if terms[0].owned {
            terms[0].value
        } else {
            self.value(
                self.program.value(terms[0].value).dims.clone(),
                Place::Arena,
            )
        };
        self.push(
            root,
            Kernel::Sum {
                terms: terms.iter().map(|t| t.value).collect(),
                y,
            },
        );
        Term::owned(y)
    }
}
