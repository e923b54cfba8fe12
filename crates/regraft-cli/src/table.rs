//! Tables of text: columns as wide as their widest cell, numbers to the right.

use std::fmt;

/// How the cells of a column are aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Names.
    Left,
    /// Numbers.
    Right,
}

/// A table with a heading for each column.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Row>,
}

#[derive(Debug)]
enum Row {
    Cells(Vec<String>),
    /// A line across all columns.
    Rule(String),
}

impl Table {
    /// A table without rows.
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; cells that are left out are empty.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(Row::Cells(cells.into_iter().collect()));
    }

    /// Adds a line across the table that says something about the rows around it.
    pub(crate) fn rule(&mut self, text: String) {
        self.rows.push(Row::Rule(text));
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.columns.iter().map(|(name, _)| name.len()).collect();
        for row in &self.rows {
            if let Row::Cells(cells) = row {
                for (width, cell) in widths.iter_mut().zip(cells) {
                    *width = (*width).max(cell.chars().count());
                }
            }
        }
        widths
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        let line = |cells: &[&str]| {
            let padded = self.columns.iter().zip(&widths).zip(cells);
            let cells: Vec<_> = padded
                .map(|(((_, align), width), cell)| match align {
                    Align::Left => format!("{cell:<width$}"),
                    Align::Right => format!("{cell:>width$}"),
                })
                .collect();
            cells.join("  ").trim_end().to_owned()
        };
        let names: Vec<_> = self.columns.iter().map(|(name, _)| *name).collect();
        writeln!(f, "{}", line(&names))?;
        for row in &self.rows {
            match row {
                Row::Cells(cells) => {
                    let cells: Vec<_> = cells.iter().map(String::as_str).collect();
                    writeln!(f, "{}", line(&cells))?;
                }
                Row::Rule(text) => writeln!(f, "---- {text} ----")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_have_no_trailing_space() {
        let mut table = Table::new(&[
            ("NAME", Align::Left),
            ("SIZE", Align::Right),
            ("", Align::Left),
        ]);
        table.row(["façade".to_owned(), "1".to_owned()]);
        table.rule("half".to_owned());
        table.row(["b".to_owned(), "12345".to_owned(), String::new()]);
        let expected = "NAME     SIZE\nfaçade      1\n---- half ----\nb       12345\n";
        assert_eq!(table.to_string(), expected);
    }
}
