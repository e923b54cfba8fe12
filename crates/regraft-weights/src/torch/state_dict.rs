//! Finding the state dict inside what a training script saved.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::pickle::{Node, NodeId, Program};
use super::rebuild::Tensor;
use crate::error::WeightsError;

/// Keys under which training scripts keep the state dict, in the order in which they are tried.
///
/// The first of these keys that leads to tensors is taken, through several levels if need be; else the dictionary
/// itself is the state dict. (The keys come first because scripts put tensors beside them, such as the best accuracy.)
/// Averaged weights come last: who wants them can save them alone.
pub const WRAPPERS: &[&str] = &[
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "module",
    "weights",
    "params",
    "model_ema",
    "state_dict_ema",
    "ema_state_dict",
    "ema",
];

/// `{"checkpoint": {"model": {"state_dict": …}}}` has three; nobody has more.
const MAX_DEPTH: usize = 4;

/// Keys listed when nothing fits.
const KEYS_SHOWN: usize = 6;

/// The state dict and the keys that lead to it.
#[derive(Debug)]
pub(super) struct Found<'p> {
    pub(super) tensors: Vec<(&'p str, &'p Tensor)>,
    pub(super) wrapper: Option<String>,
}

/// Finds the state dict: the value itself or under [`WRAPPERS`].
pub(super) fn find<'p>(path: &Path, program: &'p Program<'_>) -> Result<Found<'p>, WeightsError> {
    let mut module = None;
    let mut trail = Vec::new();
    if let Some(tensors) = search(program, program.root, &mut trail, &mut module) {
        let wrapper = (!trail.is_empty()).then(|| trail.join("."));
        if let Some(wrapper) = &wrapper {
            tracing::debug!(path = %path.display(), wrapper, "state dict found under a wrapper");
        }
        return Ok(Found { tensors, wrapper });
    }
    let path = path.to_owned();
    if let Some(class) = module {
        return Err(WeightsError::PickledModule { path, class });
    }
    Err(WeightsError::NoStateDict {
        path,
        found: describe(program, program.root),
        wrappers: WRAPPERS,
    })
}

fn search<'p>(
    program: &'p Program<'_>,
    id: NodeId,
    trail: &mut Vec<&'static str>,
    module: &mut Option<String>,
) -> Option<Vec<(&'p str, &'p Tensor)>> {
    let items = match program.node(id) {
        Node::Dict(items) => items,
        Node::Object { class, .. } => {
            module.get_or_insert_with(|| class.clone());
            return None;
        }
        _ => return None,
    };
    let wrappers = if trail.len() < MAX_DEPTH {
        WRAPPERS
    } else {
        &[]
    };
    for &wrapper in wrappers {
        // As in Python, the last value of a key counts.
        let value = items
            .iter()
            .rev()
            .find(|(key, _)| text(program, *key) == Some(wrapper));
        if let Some(&(_, value)) = value {
            trail.push(wrapper);
            if let Some(tensors) = search(program, value, trail, module) {
                return Some(tensors);
            }
            trail.pop();
        }
    }
    let tensors = tensors(program, items);
    (!tensors.is_empty()).then_some(tensors)
}

/// The tensors of a dictionary by name, in order; other values (epochs, hyper-parameters) are skipped.
fn tensors<'p>(program: &'p Program<'_>, items: &[(NodeId, NodeId)]) -> Vec<(&'p str, &'p Tensor)> {
    let named = items
        .iter()
        .filter_map(|&(key, value)| match program.node(value) {
            Node::Tensor(tensor) => Some((text(program, key)?, tensor)),
            _ => None,
        });
    let mut last: HashMap<&str, &Tensor> = HashMap::new();
    let mut order = Vec::new();
    for (name, tensor) in named {
        if last.insert(name, tensor).is_none() {
            order.push(name);
        }
    }
    order
        .into_iter()
        .filter_map(|name| Some((name, *last.get(name)?)))
        .collect()
}

fn text<'p>(program: &'p Program<'_>, id: NodeId) -> Option<&'p str> {
    match program.node(id) {
        Node::Str(text) => Some(text),
        _ => None,
    }
}

fn describe(program: &Program<'_>, id: NodeId) -> String {
    match program.node(id) {
        Node::Dict(items) if items.is_empty() => "an empty dictionary".to_owned(),
        Node::Dict(items) => {
            let names: Vec<&str> = items
                .iter()
                .filter_map(|&(key, _)| text(program, key))
                .collect();
            let unique: HashSet<&str> = names.iter().copied().collect();
            let shown: Vec<String> = names
                .iter()
                .take(KEYS_SHOWN)
                .map(|name| format!("`{name}`"))
                .collect();
            let more = if unique.len() > KEYS_SHOWN {
                ", …"
            } else {
                ""
            };
            format!("a dictionary with the keys {}{more}", shown.join(", "))
        }
        Node::Tensor(tensor) => format!("a single tensor of shape {:?}", tensor.shape),
        Node::List(items) => format!("a list of {}", items.len()),
        Node::Tuple(items) => format!("a tuple of {}", items.len()),
        _ => "a plain value".to_owned(),
    }
}
