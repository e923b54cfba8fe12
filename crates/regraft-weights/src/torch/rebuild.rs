//! The calls that state dicts make, answered with data; every other call is refused by name.
//!
//! Reference: `torch/_utils.py` and `torch/_weights_only_unpickler.py` of PyTorch 2.

use super::pickle::{Fault, Node, NodeId, Nodes};
use crate::dtype::DType;

/// A block of bytes that tensors view, named by a persistent id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Storage {
    /// Name of the block: a zip member or an entry of the legacy trailer.
    pub(super) key: String,
    /// Element type; untyped storages are bytes and typed by their tensor.
    pub(super) dtype: Option<DType>,
    /// Elements in the block (bytes when untyped).
    pub(super) numel: usize,
    /// First element of a legacy view into the block.
    pub(super) view_offset: usize,
}

/// A strided window on a [`Storage`]; counts are elements, unchecked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tensor {
    pub(super) storage: Storage,
    pub(super) dtype: DType,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// PyTorch's own limit.
const MAX_RANK: usize = 64;

/// PyTorch numbers its storages; a longer key is an attempt to fill memory.
const MAX_KEY_LENGTH: usize = 255;

/// Answers `callable(*arguments)`.
pub(super) fn call<'a>(
    nodes: &Nodes<'_, 'a>,
    callable: NodeId,
    arguments: NodeId,
) -> Result<Node<'a>, Fault> {
    let Node::Global(global) = nodes.get(callable) else {
        return Err(Fault::corrupt(
            "its pickle calls something that has no name",
        ));
    };
    let Node::Tuple(arguments) = nodes.get(arguments) else {
        return Err(wrong_arguments(global));
    };
    match global.as_str() {
        "collections.OrderedDict"
        | "collections.defaultdict"
        | "builtins.dict"
        | "__builtin__.dict" => Ok(Node::Dict(initial_items(nodes, arguments))),
        "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2" => {
            let &[storage, offset, shape, strides, ..] = arguments.as_slice() else {
                return Err(wrong_arguments(global));
            };
            let storage = storage_of(nodes, storage)?;
            let dtype = storage.dtype.ok_or_else(|| wrong_arguments(global))?;
            let tensor = tensor(nodes, storage, dtype, [offset, shape, strides]);
            tensor
                .map(Node::Tensor)
                .ok_or_else(|| wrong_arguments(global))
        }
        "torch._utils._rebuild_tensor_v3" => {
            let &[storage, offset, shape, strides, _, _, dtype, ..] = arguments.as_slice() else {
                return Err(wrong_arguments(global));
            };
            let dtype = dtype_of(nodes, dtype)?;
            let tensor = tensor(
                nodes,
                storage_of(nodes, storage)?,
                dtype,
                [offset, shape, strides],
            );
            tensor
                .map(Node::Tensor)
                .ok_or_else(|| wrong_arguments(global))
        }
        "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state" => {
            match arguments.first().map(|&id| nodes.get(id)) {
                Some(Node::Tensor(tensor)) => Ok(Node::Tensor(tensor.clone())),
                _ => Err(wrong_arguments(global)),
            }
        }
        // A tensor subclass, or a parameter with attributes: the tensor inside is what counts.
        "torch._tensor._rebuild_from_type_v2" => {
            let &[function, _, inner, ..] = arguments.as_slice() else {
                return Err(wrong_arguments(global));
            };
            // Only a tensor's own rebuild function makes sense here; that also keeps the recursion one deep.
            match nodes.get(function) {
                Node::Global(name) if name.starts_with("torch._utils._rebuild_") => {
                    call(nodes, function, inner)
                }
                Node::Global(name) => Err(Fault::Refused(name.clone())),
                _ => Err(wrong_arguments(global)),
            }
        }
        // How protocols 0 and 1 make an instance.
        "copyreg._reconstructor" | "copy_reg._reconstructor" => {
            match arguments.first().map(|&id| nodes.get(id)) {
                Some(Node::Global(class)) => Ok(construct(class)),
                _ => Err(wrong_arguments(global)),
            }
        }
        name if HARMLESS.contains(&name) => Ok(Node::Opaque),
        name if name.starts_with("torch._utils._rebuild_") => Err(Fault::Unsupported(format!(
            "holds a sparse, quantized or otherwise special tensor (`{name}`)"
        ))),
        _ => Err(Fault::Refused(global.clone())),
    }
}

/// Constructors of plain values that training scripts leave beside the weights. Their results are ignored, so none of
/// them is called either.
const HARMLESS: &[&str] = &[
    "_codecs.encode",
    "__builtin__.bytearray",
    "__builtin__.complex",
    "__builtin__.frozenset",
    "__builtin__.set",
    "builtins.bytearray",
    "builtins.bytes",
    "builtins.complex",
    "builtins.frozenset",
    "builtins.list",
    "builtins.range",
    "builtins.set",
    "builtins.slice",
    "builtins.tuple",
    "collections.Counter",
    "collections.deque",
    "datetime.date",
    "datetime.datetime",
    "datetime.timedelta",
    "decimal.Decimal",
    "fractions.Fraction",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy._core.numeric._frombuffer",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy.core.numeric._frombuffer",
    "numpy.dtype",
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.PurePosixPath",
    "pathlib.WindowsPath",
    "pathlib._local.PosixPath",
    "pathlib._local.WindowsPath",
    "torch.Size",
    "torch.device",
    "torch.serialization._get_layout",
    "uuid.UUID",
];

/// Answers `cls.__new__(cls)`: dictionaries become dictionaries, everything else stays an empty shell.
pub(super) fn construct<'a>(class: &str) -> Node<'a> {
    match class {
        "collections.OrderedDict" | "collections.defaultdict" => Node::Dict(Vec::new()),
        _ => Node::Object {
            class: class.to_owned(),
            state: None,
        },
    }
}

/// Answers a persistent id: PyTorch's way of naming a storage, or (legacy) the source of a module class.
pub(super) fn persistent<'a>(nodes: &Nodes<'_, 'a>, id: NodeId) -> Result<Node<'a>, Fault> {
    let bad = || Fault::corrupt("its pickle names a storage in an unknown way");
    let Node::Tuple(items) = nodes.get(id) else {
        return Err(bad());
    };
    let kind = items
        .first()
        .and_then(|&kind| text(nodes, kind))
        .ok_or_else(bad)?;
    if kind == "module" {
        return match items.get(1).map(|&class| nodes.get(class)) {
            Some(Node::Global(class)) => Ok(Node::Global(class.clone())),
            _ => Err(bad()),
        };
    }
    let (true, &[_, class, key, _, numel, ref view @ ..]) = (kind == "storage", items.as_slice())
    else {
        return Err(bad());
    };
    let Node::Global(class) = nodes.get(class) else {
        return Err(bad());
    };
    // `torch.FloatStorage`, `torch.cuda.FloatStorage`, `torch.storage.UntypedStorage`.
    let class_name = class
        .strip_prefix("torch.")
        .ok_or_else(|| Fault::Refused(class.clone()))?;
    let dtype =
        match class_name.rsplit('.').next().unwrap_or(class_name) {
            "UntypedStorage" => None,
            // PyTorch writes typed storages by their old class names; quantized ones have no plain numbers.
            name => Some(DType::from_torch_storage(name).ok_or_else(|| {
                Fault::Unsupported(format!("holds tensors of the type `{class}`"))
            })?),
        };
    let mut storage = Storage {
        key: text(nodes, key)
            .filter(|key| key.len() <= MAX_KEY_LENGTH)
            .ok_or_else(bad)?
            .to_owned(),
        dtype,
        numel: count(nodes, numel).ok_or_else(bad)?,
        view_offset: 0,
    };
    // Legacy files may add (key of the view, offset, size) or None.
    if let Some(Node::Tuple(view)) = view.first().map(|&view| nodes.get(view)) {
        let &[_, offset, size] = view.as_slice() else {
            return Err(bad());
        };
        let offset = count(nodes, offset).ok_or_else(bad)?;
        let size = count(nodes, size).ok_or_else(bad)?;
        if offset
            .checked_add(size)
            .is_none_or(|end| end > storage.numel)
        {
            return Err(Fault::corrupt(format!(
                "a view of storage `{}` reaches beyond it",
                storage.key
            )));
        }
        storage.view_offset = offset;
    }
    Ok(Node::Storage(storage))
}

fn tensor(
    nodes: &Nodes<'_, '_>,
    storage: Storage,
    dtype: DType,
    layout: [NodeId; 3],
) -> Option<Tensor> {
    let [offset, shape, strides] = layout;
    let tensor = Tensor {
        storage,
        dtype,
        offset: count(nodes, offset)?,
        shape: counts(nodes, shape)?,
        strides: counts(nodes, strides)?,
    };
    (tensor.shape.len() == tensor.strides.len()).then_some(tensor)
}

fn initial_items(nodes: &Nodes<'_, '_>, arguments: &[NodeId]) -> Vec<(NodeId, NodeId)> {
    // OrderedDict of Python 2 is pickled with its items as a list of [key, value]; others fill it afterwards.
    let Some(Node::List(items)) = arguments.first().map(|&id| nodes.get(id)) else {
        return Vec::new();
    };
    let pair = |&item: &NodeId| match nodes.get(item) {
        Node::List(pair) | Node::Tuple(pair) => match pair.as_slice() {
            &[key, value] => Some((key, value)),
            _ => None,
        },
        _ => None,
    };
    items.iter().filter_map(pair).collect()
}

fn storage_of(nodes: &Nodes<'_, '_>, id: NodeId) -> Result<Storage, Fault> {
    match nodes.get(id) {
        Node::Storage(storage) => Ok(storage.clone()),
        _ => Err(Fault::corrupt("a tensor has no storage")),
    }
}

fn dtype_of(nodes: &Nodes<'_, '_>, id: NodeId) -> Result<DType, Fault> {
    let Node::Global(global) = nodes.get(id) else {
        return Err(Fault::corrupt("a tensor's type has no name"));
    };
    let dtype = global
        .strip_prefix("torch.")
        .and_then(DType::from_torch_dtype);
    dtype.ok_or_else(|| Fault::Unsupported(format!("holds tensors of the type `{global}`")))
}

fn text<'n>(nodes: &Nodes<'n, '_>, id: NodeId) -> Option<&'n str> {
    match nodes.get(id) {
        Node::Str(text) => Some(text),
        _ => None,
    }
}

fn count(nodes: &Nodes<'_, '_>, id: NodeId) -> Option<usize> {
    match nodes.get(id) {
        Node::Int(value) => usize::try_from(*value).ok(),
        _ => None,
    }
}

fn counts(nodes: &Nodes<'_, '_>, id: NodeId) -> Option<Vec<usize>> {
    match nodes.get(id) {
        Node::Tuple(items) | Node::List(items) if items.len() <= MAX_RANK => {
            items.iter().map(|&item| count(nodes, item)).collect()
        }
        _ => None,
    }
}

fn wrong_arguments(global: &str) -> Fault {
    Fault::corrupt(format!("`{global}` has arguments that make no tensor"))
}
