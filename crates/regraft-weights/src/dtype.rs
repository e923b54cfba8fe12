//! Element types of checkpoints and their conversion to what the engine computes with.
//!
//! All formats store little-endian numbers; files flagged otherwise are refused where they are opened.

use std::fmt;

use half::{bf16, f16};

/// Element type of a stored tensor, named as safetensors names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DType {
    /// 64-bit IEEE float.
    F64,
    /// 32-bit IEEE float.
    F32,
    /// 16-bit IEEE float.
    F16,
    /// bfloat16: the upper half of an `F32`.
    BF16,
    /// 8-bit float, 4 exponent bits, no infinities (`torch.float8_e4m3fn`).
    F8E4M3,
    /// 8-bit float, 5 exponent bits (`torch.float8_e5m2`).
    F8E5M2,
    /// Complex number of two `F32`; listed, not convertible.
    C64,
    /// Complex number of two `F64`; listed, not convertible.
    C128,
    /// 64-bit signed integer.
    I64,
    /// 32-bit signed integer.
    I32,
    /// 16-bit signed integer.
    I16,
    /// 8-bit signed integer.
    I8,
    /// 64-bit unsigned integer.
    U64,
    /// 32-bit unsigned integer.
    U32,
    /// 16-bit unsigned integer.
    U16,
    /// 8-bit unsigned integer.
    U8,
    /// One byte, zero is false.
    Bool,
}

impl DType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::C128 => 16,
            Self::F64 | Self::C64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::BF16 | Self::I16 | Self::U16 => 2,
            Self::F8E4M3 | Self::F8E5M2 | Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// The name in a safetensors header, for example `BF16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F64 => "F64",
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::F8E4M3 => "F8_E4M3",
            Self::F8E5M2 => "F8_E5M2",
            Self::C64 => "C64",
            Self::C128 => "C128",
            Self::I64 => "I64",
            Self::I32 => "I32",
            Self::I16 => "I16",
            Self::I8 => "I8",
            Self::U64 => "U64",
            Self::U32 => "U32",
            Self::U16 => "U16",
            Self::U8 => "U8",
            Self::Bool => "BOOL",
        }
    }

    pub(crate) fn from_safetensors(dtype: safetensors::Dtype) -> Option<Self> {
        use safetensors::Dtype;
        Some(match dtype {
            Dtype::F64 => Self::F64,
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
            Dtype::BF16 => Self::BF16,
            Dtype::F8_E4M3 => Self::F8E4M3,
            Dtype::F8_E5M2 => Self::F8E5M2,
            Dtype::C64 => Self::C64,
            Dtype::I64 => Self::I64,
            Dtype::I32 => Self::I32,
            Dtype::I16 => Self::I16,
            Dtype::I8 => Self::I8,
            Dtype::U64 => Self::U64,
            Dtype::U32 => Self::U32,
            Dtype::U16 => Self::U16,
            Dtype::U8 => Self::U8,
            Dtype::BOOL => Self::Bool,
            _ => return None,
        })
    }

    /// The type of a `torch.FloatStorage` and its siblings, by class name.
    pub(crate) fn from_torch_storage(class: &str) -> Option<Self> {
        Some(match class {
            "DoubleStorage" => Self::F64,
            "FloatStorage" => Self::F32,
            "HalfStorage" => Self::F16,
            "BFloat16Storage" => Self::BF16,
            "ComplexFloatStorage" => Self::C64,
            "ComplexDoubleStorage" => Self::C128,
            "LongStorage" => Self::I64,
            "IntStorage" => Self::I32,
            "ShortStorage" => Self::I16,
            "CharStorage" => Self::I8,
            "ByteStorage" => Self::U8,
            "BoolStorage" => Self::Bool,
            _ => return None,
        })
    }

    /// The type of a `torch.float32` and its siblings, by attribute name.
    pub(crate) fn from_torch_dtype(name: &str) -> Option<Self> {
        Some(match name {
            "float64" => Self::F64,
            "float32" => Self::F32,
            "float16" => Self::F16,
            "bfloat16" => Self::BF16,
            "float8_e4m3fn" => Self::F8E4M3,
            "float8_e5m2" => Self::F8E5M2,
            "complex64" => Self::C64,
            "complex128" => Self::C128,
            "int64" => Self::I64,
            "int32" => Self::I32,
            "int16" => Self::I16,
            "int8" => Self::I8,
            "uint64" => Self::U64,
            "uint32" => Self::U32,
            "uint16" => Self::U16,
            "uint8" => Self::U8,
            "bool" => Self::Bool,
            _ => return None,
        })
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where the elements of one tensor lie in a file.
///
/// `bytes` starts at the tensor's first element. Without `strides` the elements follow each other in row-major order;
/// with them (in elements, one a dimension) they are gathered. Whoever builds one has checked that every element is
/// inside `bytes`.
#[derive(Clone, Copy)]
pub(crate) struct Stored<'a> {
    pub(crate) dtype: DType,
    pub(crate) bytes: &'a [u8],
    pub(crate) shape: &'a [usize],
    pub(crate) strides: Option<&'a [usize]>,
}

impl Stored<'_> {
    /// Converts to `f32`, rounding to nearest; false if the type has no such conversion.
    pub(crate) fn read_f32(&self, out: &mut [f32]) -> bool {
        match self.dtype {
            DType::F32 => self.gather(out, f32::from_le_bytes),
            DType::F64 => self.gather(out, |b| f64::from_le_bytes(b) as f32),
            DType::F16 => self.gather(out, |b| f16::from_le_bytes(b).to_f32()),
            DType::BF16 => self.gather(out, |b| bf16::from_le_bytes(b).to_f32()),
            DType::F8E4M3 => self.gather(out, |[b]| f8_e4m3_to_f32(b)),
            DType::F8E5M2 => self.gather(out, |[b]| f8_e5m2_to_f32(b)),
            DType::I64 => self.gather(out, |b| i64::from_le_bytes(b) as f32),
            DType::I32 => self.gather(out, |b| i32::from_le_bytes(b) as f32),
            DType::I16 => self.gather(out, |b| f32::from(i16::from_le_bytes(b))),
            DType::I8 => self.gather(out, |b| f32::from(i8::from_le_bytes(b))),
            DType::U64 => self.gather(out, |b| u64::from_le_bytes(b) as f32),
            DType::U32 => self.gather(out, |b| u32::from_le_bytes(b) as f32),
            DType::U16 => self.gather(out, |b| f32::from(u16::from_le_bytes(b))),
            DType::U8 => self.gather(out, |[b]| f32::from(b)),
            DType::Bool => self.gather(out, |[b]| f32::from(u8::from(b != 0))),
            DType::C64 | DType::C128 => return false,
        }
        true
    }

    /// Widens an integer or boolean tensor to `i64`; false for floats and for `U64`, which may not fit.
    pub(crate) fn read_i64(&self, out: &mut [i64]) -> bool {
        match self.dtype {
            DType::I64 => self.gather(out, i64::from_le_bytes),
            DType::I32 => self.gather(out, |b| i64::from(i32::from_le_bytes(b))),
            DType::I16 => self.gather(out, |b| i64::from(i16::from_le_bytes(b))),
            DType::I8 => self.gather(out, |b| i64::from(i8::from_le_bytes(b))),
            DType::U32 => self.gather(out, |b| i64::from(u32::from_le_bytes(b))),
            DType::U16 => self.gather(out, |b| i64::from(u16::from_le_bytes(b))),
            DType::U8 => self.gather(out, |[b]| i64::from(b)),
            DType::Bool => self.gather(out, |[b]| i64::from(b != 0)),
            _ => return false,
        }
        true
    }

    fn gather<const N: usize, T>(&self, out: &mut [T], convert: impl Fn([u8; N]) -> T) {
        let (elements, _) = self.bytes.as_chunks::<N>();
        let Some(strides) = self.strides else {
            for (slot, element) in out.iter_mut().zip(elements) {
                *slot = convert(*element);
            }
            return;
        };
        let (Some((&inner, outer)), Some((&inner_stride, outer_strides))) =
            (self.shape.split_last(), strides.split_last())
        else {
            return;
        };
        // An odometer over the outer dimensions; `row` is the first element of the current innermost row.
        let mut index = vec![0; outer.len()];
        let mut row = 0;
        for slots in out.chunks_exact_mut(inner.max(1)) {
            for (i, slot) in slots.iter_mut().enumerate() {
                *slot = convert(elements[row + i * inner_stride]);
            }
            for d in (0..outer.len()).rev() {
                index[d] += 1;
                row += outer_strides[d];
                if index[d] < outer[d] {
                    break;
                }
                row -= outer_strides[d] * outer[d];
                index[d] = 0;
            }
        }
    }
}

/// E5M2 is the upper byte of a half-precision float.
fn f8_e5m2_to_f32(byte: u8) -> f32 {
    f16::from_bits(u16::from(byte) << 8).to_f32()
}

/// E4M3 "FN" of <https://arxiv.org/abs/2209.05433>: bias 7, no infinities, all ones is NaN.
fn f8_e4m3_to_f32(byte: u8) -> f32 {
    let exponent = i32::from(byte >> 3 & 0xf);
    let mantissa = f32::from(byte & 0x7);
    let magnitude = match (exponent, byte & 0x7) {
        (0xf, 0x7) => f32::NAN,
        (0, _) => mantissa / 8.0 * 2f32.powi(-6),
        _ => (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7),
    };
    if byte & 0x80 == 0 {
        magnitude
    } else {
        -magnitude
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bit_floats_have_the_values_of_the_paper() {
        let e4m3 = [
            (0x00, 0.0),
            (0x01, 2f32.powi(-9)),
            (0x07, 0.875 * 2f32.powi(-6)),
            (0x08, 2f32.powi(-6)),
            (0x38, 1.0),
            (0x7e, 448.0),
            (0xfe, -448.0),
        ];
        for (byte, value) in e4m3 {
            assert_eq!(f8_e4m3_to_f32(byte).to_bits(), value.to_bits(), "{byte:#x}");
        }
        assert!(f8_e4m3_to_f32(0x7f).is_nan() && f8_e4m3_to_f32(0xff).is_nan());
        for (byte, value) in [
            (0x01, 2f32.powi(-16)),
            (0x3c, 1.0),
            (0x7b, 57344.0),
            (0xfc, f32::NEG_INFINITY),
        ] {
            assert_eq!(f8_e5m2_to_f32(byte).to_bits(), value.to_bits(), "{byte:#x}");
        }
    }

    #[test]
    fn strided_elements_are_gathered_in_row_major_order() {
        let bytes: Vec<u8> = (0..24u8).collect();
        let stored = Stored {
            dtype: DType::U8,
            bytes: &bytes,
            shape: &[2, 3, 4],
            strides: Some(&[1, 8, 2]),
        };
        let mut out = vec![0; 24];
        assert!(stored.read_i64(&mut out));
        let expected: Vec<i64> = (0..2)
            .flat_map(|a| (0..3).flat_map(move |b| (0..4).map(move |c| a + 8 * b + 2 * c)))
            .collect();
        assert_eq!(out, expected);
    }

    #[test]
    fn every_dtype_states_its_size_and_name() {
        for name in [
            "float64",
            "float16",
            "bfloat16",
            "float8_e5m2",
            "int64",
            "uint16",
            "bool",
        ] {
            let dtype = DType::from_torch_dtype(name).expect(name);
            assert!(dtype.size() <= 8 && dtype.to_string() == dtype.name());
        }
        assert_eq!(DType::from_torch_dtype("quint8"), None);
    }
}
