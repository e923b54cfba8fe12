//! Patterns over dotted names: what `--freeze` and `--unfreeze` take.

use crate::error::GraphError;
use regex::Regex;

/// A pattern over the names of nodes and parameters.
///
/// Three spellings, as people write them elsewhere:
/// - a path: `layer1` matches `layer1` and everything below it (`layer1.0.conv1.weight`), not `layer10`;
/// - a glob: `layer[1-3].*.bn?.weight`, where `*` also crosses dots;
/// - a regular expression between slashes: `/^layer[12]\./`, matched anywhere.
///
/// Several patterns are joined by commas.
#[derive(Debug, Clone)]
pub struct NamePattern {
    text: String,
    alternatives: Vec<Regex>,
}

impl NamePattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`GraphError::InvalidPattern`] if it is empty or no valid glob or regular expression.
    pub fn new(text: &str) -> Result<Self, GraphError> {
        let invalid = |problem: String| GraphError::InvalidPattern {
            pattern: text.to_owned(),
            problem,
        };
        // A comma inside slashes belongs to the regular expression.
        let parts: Vec<&str> = if text.starts_with('/') && text.ends_with('/') {
            vec![text]
        } else {
            text.split(',').map(str::trim).collect()
        };
        let mut alternatives = Vec::new();
        for part in parts {
            let source = match part.strip_prefix('/').and_then(|p| p.strip_suffix('/')) {
                Some("") => return Err(invalid("it is empty".to_owned())),
                Some(regex) => regex.to_owned(),
                None if part.is_empty() => return Err(invalid("it is empty".to_owned())),
                None => glob_to_regex(part),
            };
            alternatives.push(Regex::new(&source).map_err(|e| invalid(e.to_string()))?);
        }
        Ok(Self {
            text: text.to_owned(),
            alternatives,
        })
    }

    /// Whether a name matches.
    pub fn matches(&self, name: &str) -> bool {
        self.alternatives.iter().any(|r| r.is_match(name))
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// `*` any text, `?` one character, `[...]` a class; the match covers whole path segments.
fn glob_to_regex(glob: &str) -> String {
    let mut regex = String::from("^(?:");
    let mut in_class = false;
    for c in glob.chars() {
        match c {
            '[' if !in_class => {
                in_class = true;
                regex.push('[');
            }
            ']' if in_class => {
                in_class = false;
                regex.push(']');
            }
            '!' if in_class && regex.ends_with('[') => regex.push('^'),
            '-' if in_class => regex.push('-'),
            '*' if !in_class => regex.push_str(".*"),
            '?' if !in_class => regex.push('.'),
            c => regex.push_str(&regex::escape(&c.to_string())),
        }
    }
    regex.push_str(r")(?:\.|$)");
    regex
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        NamePattern::new(pattern).unwrap().matches(name)
    }

    #[test]
    fn a_path_covers_what_is_below_it_and_no_sibling() {
        assert!(matches("layer1", "layer1.0.conv1.weight"));
        assert!(!matches("layer1", "layer10.0.conv1.weight"));
        assert!(!matches("conv1", "layer1.0.conv1.weight"));
    }

    #[test]
    fn globs_cross_dots() {
        assert!(matches("layer[1-3].*.bn?.weight", "layer2.0.bn1.weight"));
        assert!(!matches("layer[1-3].*.bn?.weight", "layer4.0.bn1.weight"));
        assert!(matches("*.bias", "layer4.0.conv.bias"));
        assert!(matches("layer[!1]", "layer2.0"));
    }

    #[test]
    fn lists_and_regular_expressions() {
        assert!(matches("conv1, bn1", "bn1.weight"));
        assert!(matches(
            r"/^features\.(1[0-8])\./",
            "features.12.conv.0.0.weight"
        ));
        assert!(!matches(
            r"/^features\.(1[0-8])\./",
            "features.2.conv.0.0.weight"
        ));
    }

    #[test]
    fn broken_patterns_are_errors() {
        for text in ["", "a,,b", "/(/", "layer[1"] {
            assert!(
                matches!(
                    NamePattern::new(text),
                    Err(GraphError::InvalidPattern { .. })
                ),
                "{text}"
            );
        }
    }
}
