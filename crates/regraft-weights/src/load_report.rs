//! Matching a checkpoint with a model: what will be loaded, and whether the file belongs to the model at all.

use std::collections::HashMap;

use crate::checkpoint::Checkpoint;
use crate::error::{DoesNotFit, Mismatch, WeightsError};

/// Last segment of batch norm's counter, which early PyTorch did not write and nothing but `momentum=None` reads.
const BATCH_COUNTER: &str = "num_batches_tracked";

/// Counts the models averaged by `torch.optim.swa_utils.AveragedModel`.
const AVERAGE_COUNTER: &str = "n_averaged";

/// The model's name for a tensor of the file, or `None` to drop it.
pub type Rename<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// What may differ between a checkpoint and the model.
#[derive(Default)]
pub struct LoadOptions<'a> {
    /// Nodes that make up the head, such as `fc` or `classifier.1`; everything at or below these paths, in the model and
    /// in the file, may be missing, of another shape or left over. The head is loaded whole or not at all.
    pub head: &'a [&'a str],
    /// How the file's names become the model's; unchanged if `None`.
    pub rename: Option<&'a Rename<'a>>,
    /// Only report tensors that the model lacks (beyond the head's) instead of refusing the file. Off, a ResNet-34 is not
    /// mistaken for a ResNet-18, all of whose parameters it has.
    pub allow_unexpected: bool,
    /// Added to the error when the file does not fit, such as what the model is or which one the file might belong to.
    pub hint: Option<String>,
}

/// What a checkpoint has for a model, all names being the model's except where noted.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadReport {
    /// Parameters that the checkpoint fills, in the model's order.
    pub loaded: Vec<Source>,
    /// Parameters that it lacks; of the head only, or the match would have failed.
    pub missing: Vec<String>,
    /// Its tensors (renamed) that the model lacks, counters excluded.
    pub unexpected: Vec<String>,
    /// Parameters of another shape; of the head only, or the match would have failed.
    pub mismatched: Vec<Mismatch>,
    /// All parameters of the head, if it cannot be loaded and keeps its new values.
    pub replaced_head: Vec<String>,
}

/// Which tensor fills a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The parameter.
    pub name: String,
    /// The tensor in the checkpoint, before renaming: what [`Checkpoint::read_f32`] takes.
    pub tensor: String,
}

impl Checkpoint {
    /// Decides which tensor fills which of the `expected` parameters (name and shape), without reading any.
    ///
    /// As PyTorch's `load_state_dict(strict=True)`, except for the head (see [`LoadOptions::head`]) and for
    /// `num_batches_tracked`, which may be missing or left over; a parameter without dimensions accepts a tensor of one
    /// element.
    ///
    /// # Errors
    /// [`WeightsError::DoesNotFit`] if anything else is missing, of another shape or left over (see
    /// [`LoadOptions::allow_unexpected`]), or nothing fits; [`WeightsError::DuplicateName`] if two tensors are renamed to
    /// one parameter.
    pub fn match_parameters<'e>(
        &self,
        expected: impl IntoIterator<Item = (&'e str, &'e [usize])>,
        options: &LoadOptions<'_>,
    ) -> Result<LoadReport, WeightsError> {
        let mut tensors = self.renamed(options)?;
        let mut report = LoadReport::default();
        let mut head = Vec::new();
        let mut count = 0;
        for (name, shape) in expected {
            count += 1;
            if is_head(name, options) {
                head.push(name);
            }
            let tensor = tensors.remove(name);
            let info = tensor.and_then(|tensor| Some((tensor, self.info(tensor)?)));
            match info {
                Some((tensor, info)) if fits(shape, &info.shape) => {
                    report.loaded.push(Source {
                        name: name.to_owned(),
                        tensor: tensor.to_owned(),
                    });
                }
                Some((_, info)) => report.mismatched.push(Mismatch {
                    name: name.to_owned(),
                    expected: shape.to_vec(),
                    got: info.shape.clone(),
                }),
                None if last_segment(name) == BATCH_COUNTER => {}
                None => report.missing.push(name.to_owned()),
            }
        }
        // Whatever is left has no place; the file's order makes the first names telling.
        let left: Vec<String> = self
            .names()
            .filter_map(|name| rename(name, options))
            .collect();
        report.unexpected = left
            .into_iter()
            .filter(|name| tensors.contains_key(name) && !is_counter(name))
            .collect();

        let head_fails = report.missing.iter().any(|name| is_head(name, options))
            || report
                .mismatched
                .iter()
                .any(|mismatch| is_head(&mismatch.name, options));
        if head_fails {
            report
                .loaded
                .retain(|source| !is_head(&source.name, options));
            report.replaced_head = head.iter().map(|&name| name.to_owned()).collect();
        }
        self.judge(&report, count, options)?;
        tracing::debug!(
            path = %self.path().display(),
            loaded = report.loaded.len(),
            missing = report.missing.len(),
            mismatched = report.mismatched.len(),
            unexpected = report.unexpected.len(),
            head_replaced = head_fails,
            "checkpoint matched"
        );
        Ok(report)
    }

    /// Fails if the report shows more than a replaced head.
    fn judge(
        &self,
        report: &LoadReport,
        expected: usize,
        options: &LoadOptions<'_>,
    ) -> Result<(), WeightsError> {
        let beyond_head = |name: &&String| !is_head(name, options);
        let missing: Vec<String> = report.missing.iter().filter(beyond_head).cloned().collect();
        let mismatched: Vec<Mismatch> = report
            .mismatched
            .iter()
            .filter(|mismatch| !is_head(&mismatch.name, options))
            .cloned()
            .collect();
        let unexpected: Vec<String> = report
            .unexpected
            .iter()
            .filter(beyond_head)
            .cloned()
            .collect();
        let refused = !unexpected.is_empty() && !options.allow_unexpected;
        let nothing = report.loaded.is_empty() && expected > 0;
        if missing.is_empty() && mismatched.is_empty() && !refused && !nothing {
            return Ok(());
        }
        Err(WeightsError::DoesNotFit(Box::new(DoesNotFit {
            path: self.path().to_owned(),
            loaded: report.loaded.len(),
            expected,
            missing: if nothing {
                report.missing.clone()
            } else {
                missing
            },
            mismatched: if nothing {
                report.mismatched.clone()
            } else {
                mismatched
            },
            unexpected,
            hint: options.hint.clone(),
        })))
    }

    /// The model's name for each tensor → the tensor's own name.
    fn renamed(&self, options: &LoadOptions<'_>) -> Result<HashMap<String, &str>, WeightsError> {
        let mut tensors = HashMap::with_capacity(self.len());
        for tensor in self.names() {
            let Some(name) = rename(tensor, options) else {
                continue;
            };
            if tensors.contains_key(&name) {
                return Err(WeightsError::DuplicateName {
                    path: self.path().to_owned(),
                    name,
                });
            }
            tensors.insert(name, tensor);
        }
        Ok(tensors)
    }
}

fn rename(tensor: &str, options: &LoadOptions<'_>) -> Option<String> {
    match options.rename {
        Some(rename) => rename(tensor),
        None => Some(tensor.to_owned()),
    }
}

/// Whether the path is one of the head's nodes or below one.
fn is_head(name: &str, options: &LoadOptions<'_>) -> bool {
    options.head.iter().any(|node| {
        name.strip_prefix(node)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

fn fits(expected: &[usize], got: &[usize]) -> bool {
    expected == got || (expected.is_empty() && got == [1])
}

fn is_counter(name: &str) -> bool {
    last_segment(name) == BATCH_COUNTER || name == AVERAGE_COUNTER
}

fn last_segment(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}
