//! Text for people: the per-class table as `sklearn.metrics.classification_report` lays it out,
//! the confusion matrix and the most frequent mistakes.

use std::fmt::Write as _;

use crate::summary::ClassificationSummary;

/// Class names are cut to this many characters in the confusion matrix, so that columns stay
/// narrow.
const CONFUSION_NAME_WIDTH: usize = 12;

impl ClassificationSummary {
    /// Precision, recall, F1 and support of each class and on average.
    ///
    /// Character for character scikit-learn's `classification_report` with `zero_division=0`,
    /// but a class that occurs neither among labels nor predictions is left out of `macro avg`.
    pub fn report(&self) -> String {
        let names: Vec<String> = self
            .per_class
            .iter()
            .map(|class| printable(&class.label))
            .collect();
        let width = names
            .iter()
            .map(|name| name.chars().count())
            .fold("weighted avg".len(), usize::max);

        let mut text = format!(
            "{:>width$}  {:>9} {:>9} {:>9} {:>9}\n\n",
            "", "precision", "recall", "f1-score", "support"
        );
        let mut row = |name: &str, [precision, recall, f1]: [f64; 3], support: u64| {
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "{name:>width$}  {precision:>9.2} {recall:>9.2} {f1:>9.2} {support:>9}"
            );
        };
        for (class, name) in self.per_class.iter().zip(&names) {
            row(
                name,
                [class.precision, class.recall, class.f1],
                class.support,
            );
        }
        text.push('\n');
        let _ = writeln!(
            text,
            "{:>width$}  {:>9} {:>9} {:>9.2} {:>9}",
            "accuracy", "", "", self.accuracy, self.count
        );
        let mut average = |name: &str, [precision, recall, f1]: [f64; 3]| {
            let _ = writeln!(
                text,
                "{name:>width$}  {precision:>9.2} {recall:>9.2} {f1:>9.2} {:>9}",
                self.count
            );
        };
        average(
            "macro avg",
            [self.macro_precision, self.macro_recall, self.macro_f1],
        );
        average(
            "weighted avg",
            [
                self.weighted_precision,
                self.weighted_recall,
                self.weighted_f1,
            ],
        );
        text
    }

    /// The confusion matrix as a table, true classes down and predicted classes across.
    ///
    /// With more than `max_classes` classes it shows those that take part in the most mistakes,
    /// and says so; counts in other columns are summed up under `other`.
    pub fn confusion_table(&self, max_classes: usize) -> String {
        let matrix = &self.confusion_matrix;
        let shown = self.classes_with_most_mistakes(max_classes);
        let cut = shown.len() < matrix.classes();

        let mut header: Vec<String> = shown.iter().map(|&class| self.short_name(class)).collect();
        if cut {
            header.push("other".to_owned());
        }
        let rows: Vec<Vec<u64>> = shown
            .iter()
            .map(|&label| {
                let mut row: Vec<u64> = shown
                    .iter()
                    .map(|&predicted| matrix.count(label, predicted))
                    .collect();
                if cut {
                    let support: u64 = (0..matrix.classes())
                        .map(|predicted| matrix.count(label, predicted))
                        .sum();
                    row.push(support - row.iter().sum::<u64>());
                }
                row
            })
            .collect();

        let corner = "true \\ predicted";
        let name_width = header.iter().map(|name| name.chars().count()).max();
        let label_width = name_width.unwrap_or(0).max(corner.len());
        let mut text = format!("{corner:>label_width$}");
        let widths: Vec<usize> = header
            .iter()
            .enumerate()
            .map(|(column, name)| {
                rows.iter()
                    .map(|row| row[column].to_string().len())
                    .fold(name.chars().count(), usize::max)
            })
            .collect();
        for (name, &width) in header.iter().zip(&widths) {
            let _ = write!(text, "  {name:>width$}");
        }
        text.push('\n');
        for (row, name) in rows.iter().zip(&header) {
            let _ = write!(text, "{name:>label_width$}");
            for (count, &width) in row.iter().zip(&widths) {
                let _ = write!(text, "  {count:>width$}");
            }
            text.push('\n');
        }
        if cut {
            let _ = writeln!(
                text,
                "({} of {} classes, those with the most mistakes)",
                shown.len(),
                matrix.classes()
            );
        }
        text
    }

    /// The `limit` most frequent mistakes, one a line; empty when there was none.
    pub fn most_confused_table(&self, limit: usize) -> String {
        let mut text = String::new();
        for pair in self.most_confused(limit) {
            let _ = writeln!(
                text,
                "{:>6}  {} taken for {} ({:.0} % of {})",
                pair.count,
                printable(&pair.label),
                printable(&pair.predicted),
                pair.rate * 100.0,
                printable(&pair.label),
            );
        }
        text
    }

    /// Indices of at most `limit` classes, in class order.
    fn classes_with_most_mistakes(&self, limit: usize) -> Vec<usize> {
        let matrix = &self.confusion_matrix;
        let mut classes: Vec<usize> = (0..matrix.classes()).collect();
        if limit < classes.len() {
            let supports = matrix.supports();
            let predictions = matrix.predictions();
            classes.sort_by_key(|&class| {
                let correct = matrix.count(class, class);
                std::cmp::Reverse(supports[class] + predictions[class] - 2 * correct)
            });
            classes.truncate(limit);
            classes.sort_unstable();
        }
        classes
    }

    fn short_name(&self, class: usize) -> String {
        let name = self
            .per_class
            .get(class)
            .map_or_else(|| class.to_string(), |scores| printable(&scores.label));
        if name.chars().count() <= CONFUSION_NAME_WIDTH {
            return name;
        }
        let mut short: String = name.chars().take(CONFUSION_NAME_WIDTH - 1).collect();
        short.push('…');
        short
    }
}

/// A class is named after a folder, and a folder's name may hold line breaks or terminal codes.
fn printable(name: &str) -> String {
    name.chars()
        .map(|character| {
            if character.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                character
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::ClassificationMetrics;

    /// Class 0 is always right; class 2 is taken for 1 twice and for 0 once.
    fn three_classes() -> crate::ClassificationSummary {
        let mut metrics =
            ClassificationMetrics::new(["cat", "a very long class name", "dog\x1b[31m"]).unwrap();
        for (predicted, label) in [(0, 0), (0, 0), (1, 1), (1, 2), (1, 2), (0, 2)] {
            let mut row = [0.0; 3];
            row[predicted] = 3.0;
            metrics.update(&row, label).unwrap();
        }
        metrics.summary().unwrap()
    }

    #[test]
    fn confusion_table_lines_up() {
        let expected = "\
true \\ predicted  cat  a very long…  dog\u{fffd}[31m
             cat    2             0         0
    a very long…    0             1         0
        dog\u{fffd}[31m    1             2         0
";
        assert_eq!(three_classes().confusion_table(20), expected);
    }

    #[test]
    fn a_large_confusion_table_keeps_the_classes_with_mistakes() {
        let expected = "\
true \\ predicted  a very long…  dog\u{fffd}[31m  other
    a very long…             1         0      0
        dog\u{fffd}[31m             2         0      1
(2 of 3 classes, those with the most mistakes)
";
        assert_eq!(three_classes().confusion_table(2), expected);
    }

    #[test]
    fn mistakes_are_listed_most_frequent_first() {
        assert_eq!(
            three_classes().most_confused_table(9),
            "     2  dog\u{fffd}[31m taken for a very long class name (67 % of dog\u{fffd}[31m)\n     \
             1  dog\u{fffd}[31m taken for cat (33 % of dog\u{fffd}[31m)\n"
        );
        assert!(three_classes().most_confused(0).is_empty());
    }
}
