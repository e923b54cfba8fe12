//! Writes arrays as NumPy's `.npy`, version 1.0 of the format (NEP 1).

use std::io::{self, Write};

/// Writes an array of `f32` in row-major order. `shape` must be that of `values`.
pub(crate) fn write(out: &mut dyn Write, shape: &[usize], values: &[f32]) -> io::Result<()> {
    let extents: Vec<_> = shape.iter().map(ToString::to_string).collect();
    // A tuple of one needs a comma.
    let comma = if shape.len() == 1 { "," } else { "" };
    let mut header = format!(
        "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}{comma}), }}",
        extents.join(", ")
    );
    // Magic, version and length take 10 bytes; data starts at a multiple of 64.
    let padding = 63 - (10 + header.len()) % 64;
    header.extend(std::iter::repeat_n(' ', padding));
    header.push('\n');
    let header_len = u16::try_from(header.len()).map_err(io::Error::other)?;
    out.write_all(b"\x93NUMPY\x01\x00")?;
    out.write_all(&header_len.to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    for value in values {
        out.write_all(&value.to_le_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_numpy() {
        let mut bytes = Vec::new();
        write(&mut bytes, &[2, 1], &[1.0, -2.0]).unwrap();
        // numpy.save of numpy.array([[1], [-2]], dtype="float32").
        let mut expected =
            b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }"
                .to_vec();
        expected.resize(127, b' ');
        expected.extend(b"\n\x00\x00\x80\x3f\x00\x00\x00\xc0");
        assert_eq!(bytes, expected);
    }
}
