//! Reverse-mode differentiation: for each group that a gradient reaches, in reverse order, the kernels that carry it to
//! trainable parameters and on to the inputs. Nothing is emitted for what is frozen.

use super::fuse::{Group, from_output};
use super::terms::{Extent, Term};
use super::{Lowering, is_product};
use crate::program::{Kernel, NormMask, Place, ValueId};
use regraft_graph::{Activation, NodeId, Op, ParamId};

impl Lowering<'_> {
    pub(super) fn backward(&mut self) {
        let mut terms: Vec<Vec<Term>> = vec![Vec::new(); self.graph.nodes().len()];
        for (name, id) in self.graph.outputs() {
            if self.needs_gradient[id.index()] {
                let value = self.value(self.dims(*id), Place::Pinned);
                self.program.output_gradients.push((name.clone(), value));
                // The outside may read its gradient again, so it is not ours to overwrite.
                terms[id.index()].push(Term::shared(value));
            }
        }
        for group in self.groups.clone().iter().rev() {
            let arrived = std::mem::take(&mut terms[group.last.index()]);
            if !arrived.is_empty() && self.needs_gradient[group.last.index()] {
                self.backward_group(group, &arrived, &mut terms);
            }
        }
    }

    #[expect(clippy::too_many_lines, reason = "one arm an operator")]
    fn backward_group(&mut self, group: &Group, arrived: &[Term], terms: &mut [Vec<Term>]) {
        let root = group.root;
        let node = self.graph.node(root);
        if let Op::BatchNorm2d(_) = node.op {
            self.batch_norm_backward(group, arrived, terms);
            return;
        }
        let mut g = self.summed(root, arrived);
        if let Some(activation) = group.activation {
            let data = self.node_value(group.last);
            g = self.activation_backward(root, activation, data, g);
        }
        if let Some(residual) = group.residual
            && self.needs_gradient[residual.index()]
        {
            g.owned = false;
            terms[residual.index()].push(g);
        }
        let x = node.inputs.first().copied();
        let wanted = x.filter(|x| self.needs_gradient[x.index()]);
        match &node.op {
            Op::Conv2d(_) if !is_product(&self.conv_shape(root)) || group.residual.is_some() => {
                let shape = self.conv_shape(root);
                if let Some((dw, db)) = self.weight_gradients(root) {
                    let x = self.node_value(node.inputs[0]);
                    self.push(
                        root,
                        Kernel::Conv2dBackwardWeights {
                            shape,
                            x,
                            dy: g.value,
                            dw,
                            db,
                        },
                    );
                }
                if let Some(x) = wanted {
                    let weight = self.parameter(node.params[0]);
                    let dx = self.gradient_of(x);
                    self.push(
                        root,
                        Kernel::Conv2dBackwardData {
                            shape,
                            dy: g.value,
                            weight,
                            dx,
                        },
                    );
                    terms[x.index()].push(Term::owned(dx));
                }
            }
            Op::Conv2d(_) | Op::Linear(_) => {
                if let Some((dw, db)) = self.weight_gradients(root) {
                    let x = self.node_value(node.inputs[0]);
                    self.push(
                        root,
                        Kernel::LinearBackwardWeights {
                            x,
                            dy: g.value,
                            dw,
                            db,
                        },
                    );
                }
                if let Some(x) = wanted {
                    let weight = self.parameter(node.params[0]);
                    let dx = self.gradient_of(x);
                    self.push(
                        root,
                        Kernel::LinearBackwardData {
                            dy: g.value,
                            weight,
                            dx,
                        },
                    );
                    terms[x.index()].push(Term::owned(dx));
                }
            }
            Op::Activation(activation) => {
                if let Some(x) = wanted {
                    let from = if from_output(*activation) { root } else { x };
                    let data = self.node_value(from);
                    let dx = self.activation_backward(root, *activation, data, g);
                    terms[x.index()].push(dx);
                }
            }
            Op::Add => {
                for input in node
                    .inputs
                    .iter()
                    .filter(|i| self.needs_gradient[i.index()])
                {
                    terms[input.index()].push(Term::shared(g.value));
                }
            }
            Op::Concat => {
                let mut first = 0;
                for input in node.inputs.clone() {
                    let channels = self.dims4(input)[1];
                    if self.needs_gradient[input.index()] {
                        let dx = self.gradient_of(input);
                        self.push(
                            root,
                            Kernel::SliceChannels {
                                first,
                                x: g.value,
                                y: dx,
                            },
                        );
                        terms[input.index()].push(Term::owned(dx));
                    }
                    first += channels;
                }
            }
            Op::Mul => self.product_backward(root, g, terms),
            _ => {
                if let Some(x) = wanted {
                    let term = self.single_input_backward(root, x, g);
                    terms[x.index()].push(term);
                }
            }
        }
    }

    /// Operators without parameters and with one input.
    fn single_input_backward(&mut self, root: NodeId, x: NodeId, g: Term) -> Term {
        match self.graph.node(root).op {
            Op::Flatten if self.flatten_is_free(root) => return g,
            Op::Dropout { .. } | Op::StochasticDepth { .. } if !self.random[root.index()] => {
                return g;
            }
            Op::AdaptiveAvgPool2d(_) if self.dims(root) == self.dims(x) => return g,
            Op::GlobalAvgPool => {
                return Term {
                    extent: Extent::Mean,
                    ..Term::shared(g.value)
                };
            }
            Op::SliceChannels(slice) => {
                return Term {
                    extent: Extent::Channels(slice.first),
                    ..Term::shared(g.value)
                };
            }
            _ => {}
        }
        let dy = g.value;
        // What scales each element by itself may do so in place.
        let dx = match self.graph.node(root).op {
            Op::StochasticDepth { .. } if g.owned => dy,
            _ => self.gradient_of(x),
        };
        let kernel = match self.graph.node(root).op {
            Op::MaxPool2d(_) | Op::AvgPool2d(_) => Kernel::PoolBackward {
                shape: self.pool_shape(root),
                dy,
                dx,
                workspace: self.saved[root.index()],
            },
            Op::AdaptiveAvgPool2d(_) => Kernel::AdaptiveAvgPoolBackward { dy, dx },
            Op::Flatten => Kernel::FromChannelsFirst { dy, dx },
            // The mask is drawn again from the same seed.
            Op::Dropout { p } => Kernel::Dropout {
                p,
                stream: super::stream_of(root),
                x: dy,
                y: dx,
            },
            Op::StochasticDepth { p } => Kernel::StochasticDepth {
                p,
                stream: super::stream_of(root),
                x: dy,
                residual: None,
                y: dx,
            },
            Op::ChannelShuffle { groups } => Kernel::ShuffleChannels {
                groups: self.dims(root)[1] / groups,
                x: dy,
                y: dx,
            },
            _ => unreachable!(
                "every other operator has its own rule or was refused by the forward pass"
            ),
        };
        self.push(root, kernel);
        Term::owned(dx)
    }

    fn batch_norm_backward(&mut self, group: &Group, arrived: &[Term], terms: &mut [Vec<Term>]) {
        let root = group.root;
        let node = self.graph.node(root);
        let x_node = node.inputs[0];
        let x = self.node_value(x_node);
        let Ok(params) = self.norm_params(root) else {
            unreachable!("the forward pass has made these parameters");
        };
        let residual = group.residual.filter(|r| self.needs_gradient[r.index()]);
        let mask = match (group.activation, group.residual) {
            (None, _) => NormMask::None,
            (Some(activation), None) => NormMask::FromInput(activation),
            (Some(activation), Some(_)) => {
                NormMask::FromOutput(activation, self.node_value(group.last))
            }
        };
        // The kernel adds two terms itself; more are rare.
        let partial = arrived.iter().any(|t| t.extent != Extent::Whole);
        let dy: Vec<Term> =
            if arrived.len() > 2 || partial || (mask == NormMask::None && residual.is_some()) {
                vec![self.summed(root, arrived)]
            } else {
                arrived.to_vec()
            };
        let mut g = None;
        if let Some(residual) = residual {
            let term = if mask == NormMask::None {
                Term {
                    owned: false,
                    ..dy[0]
                }
            } else {
                // What the residual gets is written once and read by both branches.
                let value = self.gradient_of(root);
                g = Some(value);
                Term::shared(value)
            };
            terms[residual.index()].push(term);
        } else if dy.len() == 2 {
            // The sum would be formed twice; keeping it costs no more traffic than reading both terms again.
            g = dy.iter().find(|t| t.owned).map(|t| t.value);
        }
        let wanted = self.needs_gradient[x_node.index()];
        let dx = wanted.then(|| self.norm_input_gradient(root, x));
        let trainable = |i: usize| self.graph.parameter(node.params[i]).trainable;
        let (train_weight, train_bias) = (trainable(0), trainable(1));
        let dweight = train_weight.then(|| self.parameter_gradient(node.params[0]));
        let dbias = train_bias.then(|| self.parameter_gradient(node.params[1]));
        let Some(scale_shift) = self.saved[root.index()] else {
            unreachable!("the forward pass saves the statistics");
        };
        let kernel = Kernel::BatchNormBackward {
            x,
            statistics: params.statistics,
            mask,
            scale_shift,
            dy: [Some(dy[0].value), dy.get(1).map(|t| t.value)],
            g,
            dx,
            dweight,
            dbias,
        };
        self.push(root, kernel);
        if let Some(value) = dx {
            terms[x_node.index()].push(Term::owned(value));
        }
    }

    /// Where the gradient of a batch norm's input goes: into the memory of the input itself, which nothing reads any
    /// more, if this norm is its only reader.
    fn norm_input_gradient(&mut self, root: NodeId, x: ValueId) -> ValueId {
        let x_node = self.graph.node(root).inputs[0];
        let readers = self
            .graph
            .node_ids()
            .filter(|id| self.graph.node(*id).inputs.contains(&x_node))
            .count();
        let read_by_its_layer = self.groups.iter().any(|g| {
            g.last == x_node
                && (g.activation.is_some()
                    || matches!(self.graph.node(g.root).op, Op::Activation(_)))
        });
        let arena = self.program.value(x).place == Place::Arena;
        if readers == 1 && arena && !read_by_its_layer && is_layer(&self.graph.node(x_node).op) {
            x
        } else {
            self.gradient_of(x_node)
        }
    }

    /// `y = x * gate`: what arrives scaled by the gate for `x`, and its sum with `x` over the image for the gate.
    fn product_backward(&mut self, root: NodeId, g: Term, terms: &mut [Vec<Term>]) {
        let [a, b] = [0, 1].map(|i| self.graph.node(root).inputs[i]);
        let is_gate = self.is_gate(root);
        for (wanted, other) in [(a, b), (b, a)] {
            if !self.needs_gradient[wanted.index()] {
                continue;
            }
            let factor = self.node_value(other);
            let term = if is_gate && wanted == a {
                Term {
                    extent: Extent::Gated(factor),
                    // The gradient of the gate is computed before anything is written over.
                    ..g
                }
            } else {
                let y = self.gradient_of(wanted);
                let kernel = if is_gate {
                    Kernel::GateGradient {
                        x: factor,
                        dy: g.value,
                        dgate: y,
                    }
                } else {
                    Kernel::Product {
                        a: g.value,
                        b: factor,
                        y,
                    }
                };
                self.push(root, kernel);
                Term::owned(y)
            };
            terms[wanted.index()].push(term);
        }
    }

    fn activation_backward(
        &mut self,
        root: NodeId,
        activation: Activation,
        data: ValueId,
        g: Term,
    ) -> Term {
        let dx = if g.owned {
            g.value
        } else {
            self.value(self.program.value(g.value).dims.clone(), Place::Arena)
        };
        self.push(
            root,
            Kernel::ActivationBackward {
                activation,
                data,
                dy: g.value,
                dx,
            },
        );
        Term::owned(dx)
    }

    fn weight_gradients(&mut self, id: NodeId) -> Option<(ValueId, Option<ValueId>)> {
        let params = &self.graph.node(id).params;
        let bias_trainable = params
            .get(1)
            .is_some_and(|p| self.graph.parameter(*p).trainable);
        if !self.graph.is_trainable(id) {
            return None;
        }
        // One kernel computes both; the gradient of a frozen half goes to memory that nobody reads.
        let weight = params[0];
        let dw = if self.graph.parameter(weight).trainable {
            self.parameter_gradient(weight)
        } else {
            self.value(self.graph.parameter(weight).shape.clone(), Place::Arena)
        };
        let db = bias_trainable.then(|| self.parameter_gradient(params[1]));
        Some((dw, db))
    }

    fn parameter_gradient(&mut self, id: ParamId) -> ValueId {
        self.value(self.graph.parameter(id).shape.clone(), Place::Gradient(id))
    }

    pub(super) fn gradient_of(&mut self, id: NodeId) -> ValueId {
        self.value(self.dims(id), Place::Arena)
    }
}

/// Operators whose backward pass does not read their own output.
fn is_layer(op: &Op) -> bool {
    matches!(op, Op::Conv2d(_) | Op::Linear(_) | Op::Concat)
}
