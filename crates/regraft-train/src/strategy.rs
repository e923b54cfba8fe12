//! Which part of a pre-trained model is trained.

use crate::error::TrainError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A strategy, as `--strategy` spells it. What each does to a model is in [`recipe`](crate::recipe).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Strategy {
    /// `probe`: the new head alone, on features that are computed once.
    #[default]
    Probe,
    /// `full`: everything.
    Full,
    /// `last:N`: the last `N` stages, of which the head is one.
    Last(usize),
}

impl Strategy {
    /// All spellings, for help and errors.
    pub const SPELLINGS: &'static [&'static str] = &["probe", "full", "last:N"];
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Probe => f.write_str("probe"),
            Self::Full => f.write_str("full"),
            Self::Last(stages) => write!(f, "last:{stages}"),
        }
    }
}

impl FromStr for Strategy {
    type Err = TrainError;

    fn from_str(text: &str) -> Result<Self, TrainError> {
        let stages = text.strip_prefix("last:").map(str::parse::<usize>);
        match (text, stages) {
            ("probe", _) => Ok(Self::Probe),
            ("full", _) => Ok(Self::Full),
            (_, Some(Ok(stages))) if stages > 0 => Ok(Self::Last(stages)),
            _ => Err(TrainError::InvalidSetting {
                setting: "strategy",
                value: text.to_owned(),
                expected: "`probe`, `full` or `last:N` with a number of stages, such as `last:2`"
                    .to_owned(),
            }),
        }
    }
}

impl TryFrom<String> for Strategy {
    type Error = TrainError;

    fn try_from(text: String) -> Result<Self, TrainError> {
        text.parse()
    }
}

impl From<Strategy> for String {
    fn from(strategy: Strategy) -> Self {
        strategy.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_read_back() {
        for strategy in [Strategy::Probe, Strategy::Full, Strategy::Last(3)] {
            assert_eq!(strategy.to_string().parse::<Strategy>().unwrap(), strategy);
        }
    }

    #[test]
    fn an_unknown_strategy_is_told_what_there_is() {
        for text in ["lora", "last", "last:", "last:0", "last:-1", "Probe", ""] {
            let error = text.parse::<Strategy>().unwrap_err().to_string();
            assert!(error.contains("`probe`, `full` or `last:N`"), "{error}");
        }
    }
}
