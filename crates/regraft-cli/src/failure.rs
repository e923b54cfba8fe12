//! Shows what went wrong: the error, what caused it, and what may help.

use crate::exit_status::ExitStatus;
use crate::output::{Output, OutputClosed};
use regraft::data::DataError;
use regraft::models::ModelError;
use regraft::train::TrainError;
use std::error::Error;

/// Prints an error and says how the process ends.
pub(crate) fn report(error: &anyhow::Error, output: &Output) -> ExitStatus {
    if error.is::<OutputClosed>() {
        return ExitStatus::Done;
    }
    output.error(chain(error));
    if let Some(hint) = error.chain().find_map(hint) {
        output.hint(hint);
    }
    ExitStatus::Failed
}

/// The error and its causes, one a line. A cause that the line above quotes is left out.
fn chain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    let mut above = text.clone();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !above.contains(&cause) {
            text += "\n  caused by: ";
            text += cause.trim_end();
        }
        above = cause;
    }
    text
}

/// A remedy that the message does not have.
fn hint(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<TrainError>() {
        return match error {
            TrainError::Data(error) => error.hint().map(str::to_owned),
            TrainError::Model(error) => model_hint(error),
            _ => None,
        };
    }
    if let Some(error) = error.downcast_ref::<DataError>() {
        return error.hint().map(str::to_owned);
    }
    error.downcast_ref::<ModelError>().and_then(model_hint)
}

fn model_hint(error: &ModelError) -> Option<String> {
    match error {
        ModelError::UnknownModel { near, .. } if !near.is_empty() => {
            Some("`regraft models` lists all models".to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn causes_are_shown_once() {
        let root = std::io::Error::other("no space left");
        let error = anyhow::Error::new(root)
            .context("cannot write `a`: no space left")
            .context("the run cannot be saved");
        assert_eq!(
            chain(&error),
            "the run cannot be saved\n  caused by: cannot write `a`: no space left"
        );
    }

    #[test]
    fn the_remedy_of_a_wrapped_error_is_found() {
        let error = DataError::TooFewToSplit {
            path: "photos".into(),
        };
        let error: anyhow::Result<()> =
            Err(TrainError::from(error)).context("training cannot start");
        let hint = error.unwrap_err().chain().find_map(hint);
        assert!(hint.is_some_and(|hint| hint.contains("--val DIR")));
    }
}
