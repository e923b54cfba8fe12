//! The shape rule of every operator.

use crate::error::GraphError;
use crate::op::{Op, Padding};
use crate::shape::{Dim, Shape};

/// Shape of the output of `op` on inputs of the given shapes. `node` names it in errors.
#[expect(clippy::too_many_lines, reason = "one arm an operator")]
pub(crate) fn infer(node: &str, op: &Op, inputs: &[&Shape]) -> Result<Shape, GraphError> {
    let rule = Rule { node, op };
    match op {
        // An input's shape is declared, not inferred; it never gets here with inputs.
        Op::Input => Err(rule.invalid("an input has no inputs")),
        Op::Conv2d(c) => {
            if c.groups == 0 || c.in_channels % c.groups != 0 || c.out_channels % c.groups != 0 {
                return Err(rule.invalid(&format!(
                    "{} input and {} output channels cannot be split into {} groups",
                    c.in_channels, c.out_channels, c.groups
                )));
            }
            let [h, w] = rule.image(rule.one(inputs)?, Some(c.in_channels))?;
            let oh = rule.windows(0, h, c.window(0), c.stride[0], c.padding, false)?;
            let ow = rule.windows(1, w, c.window(1), c.stride[1], c.padding, false)?;
            Ok(Shape::batched(&[c.out_channels, oh, ow]))
        }
        Op::BatchNorm2d(b) => {
            let x = rule.one(inputs)?;
            rule.image(x, Some(b.channels))?;
            Ok(x.clone())
        }
        Op::Linear(l) => {
            let x = rule.one(inputs)?;
            let mut dims = x.dims().to_vec();
            match dims.last_mut() {
                Some(last) if x.rank() >= 2 && *last == Dim::Fixed(l.in_features) => {
                    *last = Dim::Fixed(l.out_features);
                    Ok(Shape::new(dims))
                }
                _ => Err(rule.mismatch(format!("[B, ..., {}]", l.in_features), x)),
            }
        }
        Op::Activation(_) => Ok(rule.one(inputs)?.clone()),
        Op::Dropout { p } | Op::StochasticDepth { p } => {
            if (0.0..1.0).contains(p) {
                Ok(rule.one(inputs)?.clone())
            } else {
                Err(rule.invalid(&format!("the probability {p} is not in [0, 1)")))
            }
        }
        Op::MaxPool2d(m) => {
            let padding = Padding::Explicit {
                height: m.padding,
                width: m.padding,
            };
            rule.pool(
                rule.one(inputs)?,
                m.kernel_size,
                m.stride,
                padding,
                m.ceil_mode,
            )
        }
        Op::AvgPool2d(a) => {
            let padding = Padding::Explicit {
                height: a.padding,
                width: a.padding,
            };
            rule.pool(
                rule.one(inputs)?,
                a.kernel_size,
                a.stride,
                padding,
                a.ceil_mode,
            )
        }
        Op::GlobalAvgPool => {
            let x = rule.one(inputs)?;
            rule.image(x, None)?;
            Ok(Shape::new(vec![
                x.dims()[0],
                x.dims()[1],
                Dim::Fixed(1),
                Dim::Fixed(1),
            ]))
        }
        Op::AdaptiveAvgPool2d(pool) => {
            let x = rule.one(inputs)?;
            let [h, w] = rule.image(x, None)?;
            let [oh, ow] = pool.output_size;
            if h == 0 || w == 0 || oh == 0 || ow == 0 {
                return Err(rule.invalid("an image has at least one pixel, before and after"));
            }
            Ok(Shape::new(vec![
                x.dims()[0],
                x.dims()[1],
                Dim::Fixed(oh),
                Dim::Fixed(ow),
            ]))
        }
        Op::Flatten => {
            let x = rule.one(inputs)?;
            match x.sample() {
                Some(dims) if !dims.is_empty() => Ok(Shape::batched(&[dims.iter().product()])),
                _ => Err(rule.mismatch("[B, ...]".to_owned(), x)),
            }
        }
        Op::Add => match inputs {
            [a, b] if a == b => Ok((*a).clone()),
            [a, b] => Err(rule.incompatible(a, b)),
            _ => Err(rule.invalid("a sum has two inputs")),
        },
        Op::Mul => match inputs {
            [a, b] if a == b || scales_channels(a, b) => Ok((*a).clone()),
            [a, b] => Err(rule.incompatible(a, b)),
            _ => Err(rule.invalid("a product has two inputs")),
        },
        Op::Concat => rule.concat(inputs),
        Op::SliceChannels(slice) => {
            let x = rule.one(inputs)?;
            let mut dims = x.dims().to_vec();
            match dims.get_mut(1) {
                Some(Dim::Fixed(c)) if slice.channels > 0 => {
                    // The sum of two hostile numbers must not wrap.
                    let end = slice.first.saturating_add(slice.channels);
                    if end > *c {
                        return Err(rule.invalid(&format!(
                            "channels {} to {end} are not among {c}",
                            slice.first
                        )));
                    }
                    *c = slice.channels;
                    Ok(Shape::new(dims))
                }
                Some(Dim::Fixed(_)) => Err(rule.invalid("a slice has at least one channel")),
                _ => Err(rule.mismatch("[B, C, ...]".to_owned(), x)),
            }
        }
        Op::ChannelShuffle { groups } => {
            let x = rule.one(inputs)?;
            rule.image(x, None)?;
            match x.dims()[1] {
                Dim::Fixed(c) if *groups == 0 || c % groups != 0 => Err(rule.invalid(&format!(
                    "{c} channels cannot be dealt from {groups} groups"
                ))),
                _ => Ok(x.clone()),
            }
        }
    }
}

/// Whether `b` has one value for each channel of each image of `a`.
fn scales_channels(a: &Shape, b: &Shape) -> bool {
    match (a.dims(), b.dims()) {
        ([n, c, _, _], [m, d, h, w]) => n == m && c == d && [*h, *w] == [Dim::Fixed(1); 2],
        _ => false,
    }
}

struct Rule<'a> {
    node: &'a str,
    op: &'a Op,
}

impl Rule<'_> {
    fn one<'s>(&self, inputs: &[&'s Shape]) -> Result<&'s Shape, GraphError> {
        match inputs {
            [x] => Ok(x),
            _ => Err(self.invalid(&format!("it has one input, not {}", inputs.len()))),
        }
    }

    /// Height and width of `[B, channels, H, W]`.
    fn image(&self, x: &Shape, channels: Option<usize>) -> Result<[usize; 2], GraphError> {
        match (x.dims(), channels) {
            ([Dim::Batch, Dim::Fixed(c), Dim::Fixed(h), Dim::Fixed(w)], None) if *c > 0 => {
                Ok([*h, *w])
            }
            ([Dim::Batch, Dim::Fixed(c), Dim::Fixed(h), Dim::Fixed(w)], Some(expected))
                if *c == expected =>
            {
                Ok([*h, *w])
            }
            _ => {
                let expected = channels
                    .map_or_else(|| "[B, C, H, W]".to_owned(), |c| format!("[B, {c}, H, W]"));
                Err(self.mismatch(expected, x))
            }
        }
    }

    /// Number of positions of a window along an axis.
    fn windows(
        &self,
        axis: usize,
        input: usize,
        window: usize,
        stride: usize,
        padding: Padding,
        ceil_mode: bool,
    ) -> Result<usize, GraphError> {
        if window == 0 || stride == 0 {
            return Err(self.invalid("window and stride must be at least 1"));
        }
        if input == 0 {
            return Err(self.invalid("the image has no pixels"));
        }
        let (begin, end) = padding.along(axis, input, window, stride);
        let padded = input + begin + end;
        // PyTorch: in ceil mode the only window may itself hang over the end, by less than a stride.
        if ceil_mode && window > padded && window < padded + stride {
            return Ok(1);
        }
        if window > padded {
            let axis = if axis == 0 { "height" } else { "width" };
            return Err(GraphError::WindowTooLarge {
                node: self.node.to_owned(),
                op: self.op.name(),
                axis,
                window,
                input: padded,
            });
        }
        let full = (padded - window) / stride + 1;
        // PyTorch: the extra window of ceil mode must start inside the input or its left padding.
        let hangs =
            ceil_mode && !(padded - window).is_multiple_of(stride) && full * stride < input + begin;
        Ok(full + usize::from(hangs))
    }

    fn pool(
        &self,
        x: &Shape,
        kernel: usize,
        stride: usize,
        padding: Padding,
        ceil_mode: bool,
    ) -> Result<Shape, GraphError> {
        let [h, w] = self.image(x, None)?;
        if let Padding::Explicit { height, .. } = padding
            && height * 2 > kernel
        {
            return Err(self.invalid(&format!(
                "a padding of {height} is more than half the window of {kernel}"
            )));
        }
        let oh = self.windows(0, h, kernel, stride, padding, ceil_mode)?;
        let ow = self.windows(1, w, kernel, stride, padding, ceil_mode)?;
        Ok(Shape::new(vec![
            x.dims()[0],
            x.dims()[1],
            Dim::Fixed(oh),
            Dim::Fixed(ow),
        ]))
    }

    fn concat(&self, inputs: &[&Shape]) -> Result<Shape, GraphError> {
        let Some((first, rest)) = inputs.split_first() else {
            return Err(self.invalid("nothing to join"));
        };
        let mut dims = first.dims().to_vec();
        for x in rest {
            let fits = x.rank() == first.rank()
                && x.dims()
                    .iter()
                    .zip(first.dims())
                    .enumerate()
                    .all(|(axis, (a, b))| axis == 1 || a == b);
            match (dims.get_mut(1), x.dims().get(1)) {
                (Some(Dim::Fixed(total)), Some(Dim::Fixed(more))) if fits => *total += more,
                _ => return Err(self.incompatible(first, x)),
            }
        }
        Ok(Shape::new(dims))
    }

    fn mismatch(&self, expected: String, got: &Shape) -> GraphError {
        GraphError::ShapeMismatch {
            node: self.node.to_owned(),
            op: self.op.name(),
            expected,
            got: got.clone(),
        }
    }

    fn incompatible(&self, left: &Shape, right: &Shape) -> GraphError {
        GraphError::IncompatibleInputs {
            node: self.node.to_owned(),
            op: self.op.name(),
            left: left.clone(),
            right: right.clone(),
        }
    }

    fn invalid(&self, problem: &str) -> GraphError {
        GraphError::InvalidOp {
            node: self.node.to_owned(),
            op: self.op.name(),
            problem: problem.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Conv2d, MaxPool2d};

    fn shape_of(op: Op, input: &[usize]) -> Result<Shape, GraphError> {
        infer("n", &op, &[&Shape::batched(input)])
    }

    #[test]
    fn a_convolution_halves_the_image() {
        let op = Op::Conv2d(Conv2d::new(3, 64, 7).stride(2).padding(3));
        assert_eq!(
            shape_of(op, &[3, 224, 224]),
            Ok(Shape::batched(&[64, 112, 112]))
        );
    }

    #[test]
    fn ceil_mode_adds_only_windows_that_start_inside() {
        // torch.nn.MaxPool2d(3, 2, ceil_mode=True) of SqueezeNet: 109 -> 54, and 2 -> 1 without padding.
        let pool = |k, s, p| {
            Op::MaxPool2d(MaxPool2d {
                kernel_size: k,
                stride: s,
                padding: p,
                ceil_mode: true,
            })
        };
        assert_eq!(
            shape_of(pool(3, 2, 0), &[8, 109, 110]),
            Ok(Shape::batched(&[8, 54, 55]))
        );
        // 2 -> 1 is where torchvision's smallest input of 17 pixels ends up; a single pixel is too small.
        assert_eq!(
            shape_of(pool(3, 2, 0), &[8, 2, 3]),
            Ok(Shape::batched(&[8, 1, 1]))
        );
        assert!(matches!(
            shape_of(pool(3, 2, 0), &[8, 1, 3]),
            Err(GraphError::WindowTooLarge { axis: "height", .. })
        ));
        // With padding 1 the last window of 2x2/2 over 3 pixels starts in the right padding and is dropped.
        assert_eq!(
            shape_of(pool(2, 2, 1), &[8, 3, 3]),
            Ok(Shape::batched(&[8, 2, 2]))
        );
    }

    #[test]
    fn a_small_image_is_an_error_that_names_the_node() {
        let op = Op::Conv2d(Conv2d::new(3, 64, 7));
        let error = shape_of(op, &[3, 5, 9]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "node `n` (conv2d): a window of 7 does not fit the padded input of 5 along height; use larger images"
        );
    }

    #[test]
    fn senseless_hyper_parameters_are_errors_not_panics() {
        for conv in [
            Conv2d::new(4, 4, 0),
            Conv2d::new(4, 4, 1).stride(0),
            Conv2d::new(4, 4, 1).groups(0),
            Conv2d::new(4, 4, 1).groups(3),
        ] {
            let mut b = crate::GraphBuilder::new();
            let x = b.input("x", Shape::batched(&[4, 5, 5]));
            assert!(
                matches!(b.conv2d("n", x, conv), Err(GraphError::InvalidOp { .. })),
                "{conv:?}"
            );
        }
    }

    #[test]
    fn a_product_broadcasts_over_the_image_only() {
        let image = Shape::batched(&[4, 5, 6]);
        let product = |b: &[usize]| infer("n", &Op::Mul, &[&image, &Shape::batched(b)]);
        assert_eq!(product(&[4, 1, 1]), Ok(image.clone()));
        assert_eq!(product(&[4, 5, 6]), Ok(image.clone()));
        for wrong in [&[1, 1, 1][..], &[4, 5, 1], &[4], &[3, 1, 1]] {
            let error = product(wrong).unwrap_err();
            assert!(
                matches!(error, GraphError::IncompatibleInputs { op: "mul", .. }),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn channels_can_be_taken_from_where_there_are_some() {
        use crate::op::SliceChannels;
        let slice = |first, channels| Op::SliceChannels(SliceChannels { first, channels });
        assert_eq!(
            shape_of(slice(2, 2), &[4, 5, 6]),
            Ok(Shape::batched(&[2, 5, 6]))
        );
        let error = shape_of(slice(3, 2), &[4, 5, 6]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "node `n` (slice_channels): channels 3 to 5 are not among 4"
        );
        for (first, channels) in [(0, 0), (usize::MAX, 2), (4, 1)] {
            let error = shape_of(slice(first, channels), &[4, 5, 6]).unwrap_err();
            assert!(matches!(error, GraphError::InvalidOp { .. }));
        }
    }

    #[test]
    fn shuffling_needs_groups_of_one_size() {
        let shuffle = |groups| shape_of(Op::ChannelShuffle { groups }, &[6, 2, 2]);
        assert_eq!(shuffle(3), Ok(Shape::batched(&[6, 2, 2])));
        assert_eq!(
            shuffle(4).unwrap_err().to_string(),
            "node `n` (channel_shuffle): 6 channels cannot be dealt from 4 groups"
        );
        assert!(shuffle(0).is_err());
    }

    #[test]
    fn adaptive_pooling_gives_the_size_that_is_asked_for() {
        use crate::op::AdaptiveAvgPool2d;
        let pool = |h, w| {
            Op::AdaptiveAvgPool2d(AdaptiveAvgPool2d {
                output_size: [h, w],
            })
        };
        assert_eq!(
            shape_of(pool(7, 6), &[4, 3, 20]),
            Ok(Shape::batched(&[4, 7, 6]))
        );
        assert!(matches!(
            shape_of(pool(0, 6), &[4, 3, 20]),
            Err(GraphError::InvalidOp { .. })
        ));
        assert!(matches!(
            shape_of(pool(7, 6), &[4]),
            Err(GraphError::ShapeMismatch { .. })
        ));
    }

    #[test]
    fn wrong_channels_are_an_error_with_both_shapes() {
        let op = Op::Conv2d(Conv2d::new(3, 64, 3));
        let error = shape_of(op, &[1, 5, 9]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "node `n` (conv2d) expects [B, 3, H, W], got [B, 1, 5, 9]"
        );
    }
}
