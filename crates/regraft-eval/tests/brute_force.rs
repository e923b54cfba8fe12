//! Metrics against their definitions, computed the slow way from all rows, on random data.
#![expect(clippy::expect_used, reason = "helpers of tests fail like tests")]

use proptest::prelude::*;
use regraft_eval::{
    CALIBRATION_BINS, ClassificationMetrics, ClassificationSummary, softmax, topk, wilson_interval,
};

/// Rows of logits with many ties (multiples of a half), and their labels.
fn samples() -> impl Strategy<Value = (usize, Vec<(Vec<f32>, usize)>)> {
    (1_usize..9).prop_flat_map(|classes| {
        let logit = (-16_i8..16).prop_map(|half| f32::from(half) / 2.0);
        let row = (prop::collection::vec(logit, classes), 0..classes);
        (Just(classes), prop::collection::vec(row, 1..60))
    })
}

fn metrics_of(classes: usize, samples: &[(Vec<f32>, usize)]) -> ClassificationMetrics {
    let names = (0..classes).map(|class| format!("class {class}"));
    let mut metrics = ClassificationMetrics::new(names).expect("valid classes");
    for (row, label) in samples {
        metrics.update(row, *label).expect("a valid row");
    }
    metrics
}

fn summary_of(classes: usize, samples: &[(Vec<f32>, usize)]) -> ClassificationSummary {
    let metrics = metrics_of(classes, samples);
    metrics.summary().expect("samples were taken")
}

/// All classes by descending logit, ties by ascending index.
fn ranking(row: &[f32]) -> Vec<usize> {
    let mut classes: Vec<usize> = (0..row.len()).collect();
    classes.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
    classes
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.collect();
    values.iter().sum::<f64>() / values.len() as f64
}

proptest! {
    #[test]
    fn accuracy_topk_and_loss_are_means_over_rows((classes, samples) in samples()) {
        let summary = summary_of(classes, &samples);
        let rankings: Vec<Vec<usize>> = samples.iter().map(|(row, _)| ranking(row)).collect();
        let hits = |k: usize| {
            let hit = |(ranking, (_, label)): (&Vec<usize>, &(Vec<f32>, usize))| {
                f64::from(u8::from(ranking.iter().take(k).any(|class| class == label)))
            };
            mean(rankings.iter().zip(&samples).map(hit))
        };
        prop_assert!(close(summary.accuracy, hits(1)));
        prop_assert!(close(summary.top5_accuracy, hits(5)));
        let loss = mean(samples.iter().map(|(row, label)| {
            let sum: f64 = row.iter().map(|&logit| f64::from(logit).exp()).sum();
            -(f64::from(row[*label]).exp() / sum).ln()
        }));
        prop_assert!(close(summary.loss, loss));
        for ((row, _), ranking) in samples.iter().zip(&rankings) {
            let best: Vec<usize> =
                topk(row, 3).expect("a valid row").iter().map(|scored| scored.class).collect();
            prop_assert_eq!(&best[..], &ranking[..best.len()]);
        }
    }

    #[test]
    fn class_scores_are_counts_over_rows((classes, samples) in samples()) {
        let summary = summary_of(classes, &samples);
        let pairs: Vec<(usize, usize)> =
            samples.iter().map(|(row, label)| (*label, ranking(row)[0])).collect();
        let count = |condition: &dyn Fn(usize, usize) -> bool| {
            pairs.iter().filter(|&&(label, predicted)| condition(label, predicted)).count() as f64
        };
        let ratio = |a: f64, b: f64| if b == 0.0 { 0.0 } else { a / b };
        let mut f1s = Vec::new();
        let mut recalls = Vec::new();
        for class in 0..classes {
            let both = count(&|label, predicted| label == class && predicted == class);
            let labelled = count(&|label, _| label == class);
            let predicted = count(&|_, predicted| predicted == class);
            let (precision, recall) = (ratio(both, predicted), ratio(both, labelled));
            let f1 = ratio(2.0 * precision * recall, precision + recall);
            let scores = &summary.per_class[class];
            prop_assert!(close(scores.precision, precision));
            prop_assert!(close(scores.recall, recall));
            prop_assert!(close(scores.f1, f1));
            prop_assert!(close(scores.support as f64, labelled));
            if labelled + predicted > 0.0 {
                f1s.push(f1);
            }
            if labelled > 0.0 {
                recalls.push(recall);
            }
        }
        prop_assert!(close(summary.macro_f1, mean(f1s.into_iter())));
        prop_assert!(close(summary.balanced_accuracy, mean(recalls.into_iter())));
    }

    /// R_K is the correlation of the one-hot encoded labels and predictions.
    #[test]
    fn matthews_correlation_is_a_correlation((classes, samples) in samples()) {
        let summary = summary_of(classes, &samples);
        let one_hot = |class: usize, index: usize| f64::from(u8::from(class == index));
        let pairs: Vec<(usize, usize)> =
            samples.iter().map(|(row, label)| (*label, ranking(row)[0])).collect();
        let (mut cross, mut labels, mut predictions) = (0.0, 0.0, 0.0);
        for class in 0..classes {
            let label_mean = mean(pairs.iter().map(|pair| one_hot(pair.0, class)));
            let prediction_mean = mean(pairs.iter().map(|pair| one_hot(pair.1, class)));
            for pair in &pairs {
                let label = one_hot(pair.0, class) - label_mean;
                let prediction = one_hot(pair.1, class) - prediction_mean;
                cross += label * prediction;
                labels += label * label;
                predictions += prediction * prediction;
            }
        }
        let scale = (labels * predictions).sqrt();
        let expected = if scale < 1e-9 { 0.0 } else { cross / scale };
        prop_assert!(close(summary.matthews_correlation, expected));
    }

    #[test]
    fn calibration_bins_hold_every_row_once((classes, samples) in samples()) {
        let summary = summary_of(classes, &samples);
        let bins = &summary.calibration.bins;
        prop_assert_eq!(bins.iter().map(|bin| bin.count).sum::<u64>(), samples.len() as u64);
        prop_assert_eq!(bins.len(), CALIBRATION_BINS);
        for bin in bins.iter().filter(|bin| bin.count > 0) {
            prop_assert!(bin.low < bin.mean_confidence + 1e-9);
            prop_assert!(bin.mean_confidence <= bin.high + 1e-9);
        }
        let right: f64 = bins.iter().map(|bin| bin.accuracy * bin.count as f64).sum();
        prop_assert!(close(right / samples.len() as f64, summary.accuracy));
        prop_assert!((0.0..=1.0).contains(&summary.calibration.expected_calibration_error));
    }

    #[test]
    fn merging_parts_equals_one_pass((classes, samples) in samples(), cut in 0.0..=1.0_f64) {
        let (left, right) = samples.split_at((samples.len() as f64 * cut) as usize);
        let mut merged = metrics_of(classes, left);
        merged.merge(&metrics_of(classes, right)).expect("the same classes");
        let merged = merged.summary().expect("samples were taken");
        let whole = summary_of(classes, &samples);
        prop_assert!(close(merged.loss, whole.loss));
        prop_assert!(close(
            merged.calibration.expected_calibration_error,
            whole.calibration.expected_calibration_error
        ));
        prop_assert!(close(merged.top5_accuracy, whole.top5_accuracy));
        prop_assert_eq!(merged.confusion_matrix, whole.confusion_matrix);
    }

    #[test]
    fn a_batch_equals_its_rows((classes, samples) in samples()) {
        let flat: Vec<f32> = samples.iter().flat_map(|(row, _)| row.clone()).collect();
        let labels: Vec<usize> = samples.iter().map(|(_, label)| *label).collect();
        let mut batched = metrics_of(classes, &[]);
        batched.update_batch(&flat, &labels).expect("valid rows");
        prop_assert_eq!(batched, metrics_of(classes, &samples));
    }

    #[test]
    fn probabilities_give_the_metrics_of_their_logits((classes, samples) in samples()) {
        let whole = summary_of(classes, &samples);
        let mut metrics = metrics_of(classes, &[]);
        for (row, label) in &samples {
            let probabilities = softmax(row).expect("a valid row");
            metrics.update_probabilities(&probabilities, *label).expect("probabilities");
        }
        let summary = metrics.summary().expect("samples were taken");
        prop_assert_eq!(summary.confusion_matrix, whole.confusion_matrix);
        // A probability below f32::EPSILON counts as that, so the losses part above 15.9.
        if samples.iter().all(|(row, label)| {
            row.iter().all(|logit| logit - row[*label] < 13.0)
        }) {
            prop_assert!((summary.loss - whole.loss).abs() < 1e-5);
        }
    }

    #[test]
    fn wilson_interval_solves_its_equation(count in 1_u64..100_000, part in 0.0..=1.0_f64) {
        let successes = (count as f64 * part) as u64;
        let proportion = successes as f64 / count as f64;
        let interval = wilson_interval(successes, count);
        prop_assert!(0.0 <= interval.low && interval.low <= proportion);
        prop_assert!(proportion <= interval.high && interval.high <= 1.0);
        for bound in [interval.low, interval.high] {
            let z_squared = 1.959_963_984_540_054_f64.powi(2);
            let distance = (proportion - bound).powi(2);
            prop_assert!((distance - z_squared * bound * (1.0 - bound) / count as f64).abs() < 1e-9);
        }
    }
}
