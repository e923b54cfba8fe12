//! The inner loops of [`resample`](super) for x86-64 processors with AVX2. Their results are those of the portable loops.
//!
//! The only `unsafe` is entering a function compiled for AVX2, after asking the processor. Loads go through slices.

use std::arch::x86_64::{
    _mm_add_epi32, _mm_cvtsi64_si128, _mm_cvtsi128_si32, _mm_madd_epi16, _mm_packs_epi32,
    _mm_packus_epi16, _mm_set1_epi32, _mm_setr_epi8, _mm_setzero_si128, _mm_shuffle_epi8,
    _mm_slli_epi32, _mm_srai_epi32,
};

use super::{Axis, HALF, PRECISION_BITS, blend_rows_portable};

/// Fractional bits in the low part of a weight.
const LOW_BITS: u32 = 11;

/// Two weights, each as `high * 2^11 + low`, so that 16-bit multiplications give the exact 32-bit sums.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    high: i32,
    low: i32,
}

impl Pair {
    pub(super) fn new([first, second]: [i32; 2]) -> Self {
        let pack = |first: i32, second: i32| (second << 16) | (first & 0xffff);
        let low = (1 << LOW_BITS) - 1;
        Self {
            high: pack(first >> LOW_BITS, second >> LOW_BITS),
            low: pack(first & low, second & low),
        }
    }
}

/// Resizes one row, or returns `false` when the processor has no AVX2.
pub(super) fn resize_row(source: &[u8], first: usize, axis: &Axis, out: &mut [u8]) -> bool {
    let available = is_x86_feature_detected!("avx2");
    if available {
        #[expect(unsafe_code, reason = "enters a function compiled for AVX2")]
        // SAFETY: the processor has AVX2.
        unsafe {
            resize_row_avx2(source, first, axis, out);
        }
    }
    available
}

/// Blends rows, or returns `false` when the processor has no AVX2.
pub(super) fn blend_rows(
    rows: &[u8],
    stride: usize,
    weights: &[i32],
    sums: &mut [i32],
    out: &mut [u8],
) -> bool {
    let available = is_x86_feature_detected!("avx2");
    if available {
        #[expect(unsafe_code, reason = "enters a function compiled for AVX2")]
        // SAFETY: the processor has AVX2.
        unsafe {
            blend_rows_avx2(rows, stride, weights, sums, out);
        }
    }
    available
}

#[target_feature(enable = "avx2")]
fn blend_rows_avx2(rows: &[u8], stride: usize, weights: &[i32], sums: &mut [i32], out: &mut [u8]) {
    blend_rows_portable(rows, stride, weights, sums, out);
}

#[target_feature(enable = "avx2")]
fn resize_row_avx2(source: &[u8], first: usize, axis: &Axis, out: &mut [u8]) {
    // Two neighbouring RGB pixels as the 16-bit pairs (r0, r1), (g0, g1), (b0, b1).
    let spread = _mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1);
    let zero = _mm_setzero_si128();
    let half = _mm_set1_epi32(HALF);
    let pairs_max = (axis.taps_max / 2).max(1);
    let outputs = out.as_chunks_mut::<3>().0;
    for ((&(start, len), pairs), out) in axis
        .taps
        .iter()
        .zip(axis.pairs.chunks_exact(pairs_max))
        .zip(outputs)
    {
        let mut rest = source.get((start - first) * 3..).unwrap_or_default();
        let (mut high, mut low) = (zero, zero);
        for pair in pairs.iter().take(len.div_ceil(2)) {
            // Bytes past the two pixels are shuffled away, and a pixel past the taps has weight 0.
            let pixels = _mm_shuffle_epi8(_mm_cvtsi64_si128(eight_bytes(rest)), spread);
            high = _mm_add_epi32(high, _mm_madd_epi16(pixels, _mm_set1_epi32(pair.high)));
            low = _mm_add_epi32(low, _mm_madd_epi16(pixels, _mm_set1_epi32(pair.low)));
            rest = rest.get(6..).unwrap_or_default();
        }
        let sum = _mm_add_epi32(
            _mm_add_epi32(_mm_slli_epi32::<{ LOW_BITS as i32 }>(high), low),
            half,
        );
        let levels = _mm_srai_epi32::<{ PRECISION_BITS as i32 }>(sum);
        let bytes = _mm_packus_epi16(_mm_packs_epi32(levels, zero), zero);
        let [r, g, b, _] = _mm_cvtsi128_si32(bytes).to_le_bytes();
        *out = [r, g, b];
    }
}

/// The first eight bytes, or what there is of them.
#[inline]
fn eight_bytes(bytes: &[u8]) -> i64 {
    if let Some(eight) = bytes.first_chunk() {
        return i64::from_le_bytes(*eight);
    }
    let mut eight = [0; 8];
    for (to, from) in eight.iter_mut().zip(bytes) {
        *to = *from;
    }
    i64::from_le_bytes(eight)
}
