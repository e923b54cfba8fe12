//! Loops over slices, compiled for the vector units of several generations of processors and chosen at run time. All
//! are limited by memory, not arithmetic.

#![expect(
    clippy::inline_always,
    reason = "what a loop calls must be compiled for the vector unit of the loop"
)]

use multiversion::multiversion;
use regraft_graph::Activation;

/// Elements that one task of a parallel loop works on: small enough for the second-level cache, large enough that the
/// cost of a task does not show.
pub(super) const CHUNK: usize = 16 * 1024;

/// Between its bounds an activation is the identity, outside it is constant. Covers none, ReLU and ReLU6.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Clamp {
    pub(super) low: f32,
    pub(super) high: f32,
}

impl Clamp {
    pub(super) fn of(activation: Option<Activation>) -> Self {
        match activation {
            Some(Activation::Relu6) => Self {
                low: 0.0,
                high: 6.0,
            },
            // Fusion lets nothing else through.
            Some(_) => Self {
                low: 0.0,
                high: f32::INFINITY,
            },
            None => Self {
                low: f32::NEG_INFINITY,
                high: f32::INFINITY,
            },
        }
    }

    /// NaN stays NaN, as in PyTorch.
    #[inline(always)]
    fn apply(self, x: f32) -> f32 {
        if x < self.low {
            self.low
        } else if x > self.high {
            self.high
        } else {
            x
        }
    }

    #[inline(always)]
    fn passes(self, x: f32) -> bool {
        x > self.low && x < self.high
    }
}

/// `1 / (1 + exp(-x))`, within a few units in the last place.
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The exponential function, within a few units in the last place: `2^n` times the polynomial of Cephes' `expf` for the
/// rest. Where the result would be no normal number it is the nearest one. NaN stays NaN.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Adding this number rounds to an integer, which is then in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.3, 88.3);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let mut p = 1.987_569_1e-4;
    for coefficient in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ] {
        p = p * r + coefficient;
    }
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    (p * r * r + r + 1.0) * power
}

/// `y = silu(x * scale + shift)`
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
pub(super) fn silu_rows(x: &[f32], scale: &[f32], shift: &[f32], y: &mut [f32]) {
    for (x, y) in x.chunks(scale.len()).zip(y.chunks_mut(scale.len())) {
        for (((y, x), a), b) in y.iter_mut().zip(x).zip(scale).zip(shift) {
            let x = x * a + b;
            *y = x * sigmoid(x);
        }
    }
}

/// `g *= silu'(x * scale + shift)`
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
pub(super) fn silu_gradient(g: &mut [f32], x: &[f32], scale: &[f32], shift: &[f32]) {
    for (((g, x), a), b) in g.iter_mut().zip(x).zip(scale).zip(shift) {
        let x = x * a + b;
        let s = sigmoid(x);
        *g *= s * (1.0 + x * (1.0 - s));
    }
}

/// `y = hardswish(x * scale + shift)`
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
pub(super) fn hard_swish_rows(x: &[f32], scale: &[f32], shift: &[f32], y: &mut [f32]) {
    for (x, y) in x.chunks(scale.len()).zip(y.chunks_mut(scale.len())) {
        for (((y, x), a), b) in y.iter_mut().zip(x).zip(scale).zip(shift) {
            let x = x * a + b;
            *y = x * (x + 3.0).clamp(0.0, 6.0) * (1.0 / 6.0);
        }
    }
}

/// `g *= hardswish'(x * scale + shift)`
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
pub(super) fn hard_swish_gradient(g: &mut [f32], x: &[f32], scale: &[f32], shift: &[f32]) {
    for (((g, x), a), b) in g.iter_mut().zip(x).zip(scale).zip(shift) {
        let x = x * a + b;
        let slope = if x <= -3.0 {
            0.0
        } else if x < 3.0 {
            x * (1.0 / 3.0) + 0.5
        } else {
            1.0
        };
        *g *= slope;
    }
}

/// A per-channel vector repeated so that loops over rows are long even when channels are few. Returns the vector of
/// `repeats * channels` elements.
pub(super) fn repeat(channel: &[f32], repeats: usize, into: &mut [f32]) {
    for (part, _) in into.chunks_mut(channel.len().max(1)).zip(0..repeats) {
        part.copy_from_slice(channel);
    }
}

/// How often to repeat a vector of so many channels.
pub(super) fn repeats(channels: usize) -> usize {
    (256 / channels.max(1)).max(1)
}

/// Adds the rows of `x` (each as long as `sums`; the last may be short) into `sums`.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
pub(super) fn add_rows(x: &[f32], sums: &mut [f32]) {
    let width = sums.len();
    let mut fours = x.chunks_exact(4 * width);
    for four in &mut fours {
        let (a, rest) = four.split_at(width);
        let (b, rest) = rest.split_at(width);
        let (c, d) = rest.split_at(width);
        for (i, s) in sums.iter_mut().enumerate() {
            *s += (a[i] + b[i]) + (c[i] + d[i]);
        }
    }
    for row in fours.remainder().chunks(width) {
        for (s, v) in sums.iter_mut().zip(row) {
            *s += v;
        }
    }
}

/// Adds the squared distances of the rows of `x` from `mean` into `sums`.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
pub(super) fn add_squared_distances(x: &[f32], mean: &[f32], sums: &mut [f32]) {
    for row in x.chunks(sums.len()) {
        for ((s, v), m) in sums.iter_mut().zip(row).zip(mean) {
            let d = v - m;
            *s += d * d;
        }
    }
}

/// `y = clamp(x * scale + shift)`
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
pub(super) fn scale_rows(x: &[f32], scale: &[f32], shift: &[f32], clamp: Clamp, y: &mut [f32]) {
    for (x, y) in x.chunks(scale.len()).zip(y.chunks_mut(scale.len())) {
        for (((y, x), a), b) in y.iter_mut().zip(x).zip(scale).zip(shift) {
            *y = clamp.apply(x * a + b);
        }
    }
}

/// `y = clamp(x * scale + shift + residual)`
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
pub(super) fn scale_rows_add(
    x: &[f32],
    residual: &[f32],
    scale: &[f32],
    shift: &[f32],
    clamp: Clamp,
    y: &mut [f32],
) {
    let width = scale.len();
    for ((x, r), y) in x
        .chunks(width)
        .zip(residual.chunks(width))
        .zip(y.chunks_mut(width))
    {
        for ((((y, x), r), a), b) in y.iter_mut().zip(x).zip(r).zip(scale).zip(shift) {
            *y = clamp.apply(x * a + b + r);
        }
    }
}

/// `y += x`
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
pub(super) fn add_assign(y: &mut [f32], x: &[f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += x;
    }
}

/// `y = a + b`
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
pub(super) fn add(y: &mut [f32], a: &[f32], b: &[f32]) {
    for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
        *y = a + b;
    }
}

/// `y *= factor`
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
pub(super) fn scale(y: &mut [f32], factor: f32) {
    for y in y {
        *y *= factor;
    }
}

/// `y = a * b`
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
pub(super) fn multiply(y: &mut [f32], a: &[f32], b: &[f32]) {
    for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
        *y = a * b;
    }
}

/// `y = y * factor + x`
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
pub(super) fn scale_and_add(y: &mut [f32], factor: f32, x: &[f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = *y * factor + x;
    }
}

/// `y = x * gate` for rows as long as `gate`.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
pub(super) fn scale_channels_of(x: &[f32], gate: &[f32], y: &mut [f32]) {
    for (x, y) in x.chunks(gate.len()).zip(y.chunks_mut(gate.len())) {
        for ((y, x), g) in y.iter_mut().zip(x).zip(gate) {
            *y = x * g;
        }
    }
}

/// `y *= gate` for rows as long as `gate`.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
pub(super) fn scale_channels(y: &mut [f32], gate: &[f32]) {
    for y in y.chunks_mut(gate.len()) {
        for (y, g) in y.iter_mut().zip(gate) {
            *y *= g;
        }
    }
}

/// `y += term * factor` for rows as long as `term`.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
pub(super) fn add_channels(y: &mut [f32], term: &[f32], factor: f32) {
    for y in y.chunks_mut(term.len()) {
        for (y, t) in y.iter_mut().zip(term) {
            *y += t * factor;
        }
    }
}

/// `y = y * gate + term * factor` for rows as long as `gate` and `term`.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
pub(super) fn scale_and_add_channels(y: &mut [f32], gate: &[f32], term: &[f32], factor: f32) {
    for y in y.chunks_mut(gate.len()) {
        for ((y, g), t) in y.iter_mut().zip(gate).zip(term) {
            *y = *y * g + t * factor;
        }
    }
}

/// Adds the products of the rows of `a` and `b` (each as long as `sums`) into `sums`.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
pub(super) fn add_products(a: &[f32], b: &[f32], sums: &mut [f32]) {
    let width = sums.len();
    let (mut pairs_a, mut pairs_b) = (a.chunks_exact(2 * width), b.chunks_exact(2 * width));
    for (a, b) in (&mut pairs_a).zip(&mut pairs_b) {
        let ((a, c), (b, d)) = (a.split_at(width), b.split_at(width));
        for (i, s) in sums.iter_mut().enumerate() {
            *s += a[i] * b[i] + c[i] * d[i];
        }
    }
    for ((s, a), b) in sums
        .iter_mut()
        .zip(pairs_a.remainder())
        .zip(pairs_b.remainder())
    {
        *s += a * b;
    }
}

/// `x` as a matrix of so many rows, written column by column.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
pub(super) fn transpose(x: &[f32], rows: usize, y: &mut [f32]) {
    let columns = x.len() / rows;
    if rows == 2 {
        let (a, b) = x.split_at(columns);
        for ((y, a), b) in y.as_chunks_mut::<2>().0.iter_mut().zip(a).zip(b) {
            *y = [*a, *b];
        }
    } else if columns == 2 {
        let (a, b) = y.split_at_mut(rows);
        for ((x, a), b) in x.as_chunks::<2>().0.iter().zip(a).zip(b) {
            [*a, *b] = *x;
        }
    } else {
        for (j, y) in y.chunks_mut(rows).enumerate() {
            for (y, x) in y.iter_mut().zip(x.iter().skip(j).step_by(columns)) {
                *y = *x;
            }
        }
    }
}

/// `g = 0` where the activation of `x * scale + shift` is flat.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
pub(super) fn mask_by_input(g: &mut [f32], x: &[f32], scale: &[f32], shift: &[f32], clamp: Clamp) {
    for (((g, x), a), b) in g.iter_mut().zip(x).zip(scale).zip(shift) {
        *g = if clamp.passes(x * a + b) { *g } else { 0.0 };
    }
}

/// `g = 0` where the activation is flat that gave `y`.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
pub(super) fn mask_by_output(g: &mut [f32], y: &[f32], clamp: Clamp) {
    for (g, y) in g.iter_mut().zip(y) {
        *g = if clamp.passes(*y) { *g } else { 0.0 };
    }
}

/// `sum_g += g` and `sum_gx += g * (x - mean) * inverse_deviation`
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
pub(super) fn add_norm_sums(
    g: &[f32],
    x: &[f32],
    mean: &[f32],
    inverse_deviation: &[f32],
    sum_g: &mut [f32],
    sum_gx: &mut [f32],
) {
    for (((((s, t), g), x), m), i) in sum_g
        .iter_mut()
        .zip(sum_gx.iter_mut())
        .zip(g)
        .zip(x)
        .zip(mean)
        .zip(inverse_deviation)
    {
        *s += g;
        *t += g * ((x - m) * i);
    }
}

/// `x = scale * (g - mean_g - (x - mean) * slope)`: the gradient of a normalised input, over the input itself.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
pub(super) fn norm_input_gradient(
    x: &mut [f32],
    g: &[f32],
    scale: &[f32],
    mean_g: &[f32],
    mean: &[f32],
    slope: &[f32],
) {
    for (((((x, g), a), mg), m), k) in x
        .iter_mut()
        .zip(g)
        .zip(scale)
        .zip(mean_g)
        .zip(mean)
        .zip(slope)
    {
        *x = a * (g - mg - (*x - m) * k);
    }
}

/// Writes `x` scaled by `factor` where a draw of the stream `key` at the element's index reaches `threshold`, else zero.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2+fma"))]
pub(super) fn drop_out(
    x: &[f32],
    y: &mut [f32],
    first: u32,
    key: u32,
    threshold: u32,
    factor: f32,
) {
    for (i, (y, x)) in (0_u32..).zip(y.iter_mut().zip(x)) {
        *y = if draw(first.wrapping_add(i), key) >= threshold {
            x * factor
        } else {
            0.0
        };
    }
}

/// A 32-bit integer hash (the "lowbias32" constants of Wellons' hash prospector) of a counter under a key.
#[inline(always)]
pub(super) fn draw(index: u32, key: u32) -> u32 {
    let mut h = index ^ key;
    h = (h ^ (h >> 16)).wrapping_mul(0x7feb_352d);
    h = (h ^ (h >> 15)).wrapping_mul(0x846c_a68b);
    h ^= h >> 16;
    // A second round under another key: with one, streams whose keys differ in few bits would be permutations.
    h = h.wrapping_add(key.rotate_left(16) ^ 0x9e37_79b9);
    h = (h ^ (h >> 16)).wrapping_mul(0x7feb_352d);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_rows_take_short_tails() {
        let x: Vec<f32> = (0..11).map(|v| v as f32).collect();
        let mut sums = [0.0; 2];
        add_rows(&x, &mut sums);
        assert_eq!(
            sums,
            [
                0.0 + 2.0 + 4.0 + 6.0 + 8.0 + 10.0,
                1.0 + 3.0 + 5.0 + 7.0 + 9.0
            ]
        );
    }

    #[test]
    fn transposing_twice_changes_nothing() {
        for (rows, columns) in [(2, 5), (5, 2), (3, 4), (1, 6), (6, 1)] {
            let x: Vec<f32> = (0..rows * columns).map(|v| v as f32).collect();
            let (mut once, mut twice) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            transpose(&x, rows, &mut once);
            assert!(
                once[1]
                    .total_cmp(&if rows == 1 { 1.0 } else { columns as f32 })
                    .is_eq()
            );
            transpose(&once, columns, &mut twice);
            assert_eq!(twice, x);
        }
    }

    #[test]
    fn products_of_rows_are_added_up() {
        let mut sums = [1.0, 0.0];
        add_products(
            &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            &[1.0, 1.0, 2.0, 2.0, 3.0, 3.0],
            &mut sums,
        );
        assert_eq!(sums, [1.0 + 1.0 + 6.0 + 15.0, 2.0 + 8.0 + 18.0]);
    }

    #[test]
    fn smooth_activations_are_exact_to_rounding() {
        let x: Vec<f32> = (-3000..3000).map(|i| i as f32 * 0.033).collect();
        let mut y = vec![0.0; x.len()];
        silu_rows(&x, &[1.0], &[0.0], &mut y);
        for (x, y) in x.iter().zip(&y) {
            let x = f64::from(*x);
            let expected = x / (1.0 + (-x).exp());
            let error = (f64::from(*y) - expected).abs();
            assert!(
                error <= 5e-7 * expected.abs() + 1e-35,
                "silu({x}) is not {y}"
            );
        }
        let mut extremes = [0.0; 3];
        let far = [f32::NAN, f32::NEG_INFINITY, f32::INFINITY];
        silu_rows(&far[..2], &[1.0], &[0.0], &mut extremes[..2]);
        assert!(extremes[0].is_nan());
        hard_swish_rows(&[-4.0, 1.0, 5.0], &[1.0], &[0.0], &mut extremes);
        assert_eq!(extremes, [0.0, 4.0 * (1.0 / 6.0), 30.0 * (1.0 / 6.0)]);
    }

    #[test]
    fn activations_keep_nan() {
        let relu = Clamp::of(Some(Activation::Relu));
        let mut y = [0.0; 3];
        scale_rows(&[f32::NAN, -1.0, 2.0], &[1.0; 3], &[0.0; 3], relu, &mut y);
        assert!(y[0].is_nan() && y[1] == 0.0 && y[2] == 2.0);
    }

    #[test]
    fn dropout_keeps_the_share_it_should_and_differs_between_keys() {
        let x = vec![1.0_f32; 1 << 16];
        let mut masks = Vec::new();
        for key in 0..4 {
            let mut y = vec![0.0; x.len()];
            drop_out(&x, &mut y, 0, key, (0.3 * 4_294_967_296.0) as u32, 1.0);
            let kept = y.iter().sum::<f32>() / x.len() as f32;
            // Four standard deviations of a binomial share.
            assert!(
                (kept - 0.7).abs() < 4.0 * (0.21_f32 / x.len() as f32).sqrt(),
                "{kept}"
            );
            masks.push(y);
        }
        for (i, a) in masks.iter().enumerate() {
            for b in &masks[..i] {
                let both = a
                    .iter()
                    .zip(b)
                    .filter(|(a, b)| **a > 0.0 && **b > 0.0)
                    .count() as f32
                    / x.len() as f32;
                assert!((both - 0.49).abs() < 0.01, "masks are independent: {both}");
            }
        }
    }
}
