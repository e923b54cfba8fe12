//! Numbers for people: digits in groups, bytes and counts in units that fit.

/// `11689512` as `11,689,512`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with three digits and `k`, `M` or `G`.
pub(crate) fn short(number: u64) -> String {
    scaled(number as f64, 1000.0, &["", " k", " M", " G", " T"])
}

/// Bytes in binary units.
pub(crate) fn bytes(number: u64) -> String {
    scaled(
        number as f64,
        1024.0,
        &[" B", " KiB", " MiB", " GiB", " TiB"],
    )
}

/// `1 image`, `2 images`.
pub(crate) fn counted(number: usize, singular: &str, plural: &str) -> String {
    let noun = if number == 1 { singular } else { plural };
    format!("{} {noun}", grouped(number as u64))
}

fn scaled(mut number: f64, step: f64, units: &[&str]) -> String {
    let mut unit = 0;
    // What would be rounded up to the next unit is shown in it.
    while number >= step - 0.5 && unit + 1 < units.len() {
        number /= step;
        unit += 1;
    }
    let digits = match number {
        _ if unit == 0 => 0,
        n if n < 9.995 => 2,
        n if n < 99.95 => 1,
        _ => 0,
    };
    format!("{number:.digits$}{}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_come_in_groups_of_three() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (11_689_512, "11,689,512"),
        ];
        for (number, text) in cases {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn three_digits_are_enough() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1000, "1.00 k"),
            (11_689_512, "11.7 M"),
            (999_999, "1.00 M"),
        ];
        for (number, text) in cases {
            assert_eq!(short(number), text);
        }
        assert_eq!(bytes(10 << 30), "10.0 GiB");
        assert_eq!(bytes(1023), "1023 B");
    }
}
