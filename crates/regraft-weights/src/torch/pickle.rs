//! A pickle machine that builds data and never calls anything.
//!
//! Pickle is a program; Python's `pickle.load` runs it with every function of the interpreter in reach. This machine
//! knows the opcodes and hands each requested call to [`super::rebuild`], which answers the few that state dicts need
//! with plain data and refuses the rest. Objects of unknown classes become [`Node::Object`]: inert, named, empty.
//! Opcodes: CPython's `Lib/pickletools.py`.
//!
//! Nodes live in one arena and refer to each other by index, so a hostile nesting depth costs no stack, and every
//! opcode adds at most one node, so memory is bounded by the length of the input.

use std::collections::HashMap;

use super::rebuild;
use super::rebuild::{Storage, Tensor};

/// Real checkpoints need some 30 opcodes a tensor; this allows for more than 100,000 tensors with optimizer state.
const MAX_OPCODES: usize = 20_000_000;

/// Items that dictionaries built by a call may copy in total: the one way to use memory faster than bytes are read.
const MAX_COPIED: usize = 2_000_000;

/// Longer names of classes and functions are no names.
const MAX_GLOBAL_LENGTH: usize = 512;

/// Index of a [`Node`] in its [`Program`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct NodeId(u32);

/// A value that the pickle built.
#[derive(Debug)]
pub(super) enum Node<'a> {
    /// A value that no reader of weights needs: floats, bytes, big integers, numpy scalars, …
    Opaque,
    None,
    Bool(bool),
    Int(i64),
    Str(&'a str),
    Tuple(Vec<NodeId>),
    List(Vec<NodeId>),
    Dict(Vec<(NodeId, NodeId)>),
    /// A class or function by its full name. Having one is harmless; calling it is not.
    Global(String),
    /// An instance of a class that we don't rebuild.
    Object {
        class: String,
        /// What pickle would have passed to `__setstate__`.
        state: Option<NodeId>,
    },
    Storage(Storage),
    Tensor(Tensor),
}

/// Why a pickle was not read; the caller adds the file's name.
#[derive(Debug)]
pub(super) enum Fault {
    Corrupt(String),
    Refused(String),
    Unsupported(String),
}

impl Fault {
    pub(super) fn corrupt(reason: impl Into<String>) -> Self {
        Self::Corrupt(reason.into())
    }
}

/// The values of one pickle and where it ended.
pub(super) struct Program<'a> {
    nodes: Vec<Node<'a>>,
    pub(super) root: NodeId,
    /// Bytes read, the `STOP` opcode included.
    pub(super) length: usize,
}

impl<'a> Program<'a> {
    /// Reads one pickle from the start of `bytes`.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Fault> {
        Machine {
            bytes,
            position: 0,
            nodes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            copied: 0,
        }
        .run()
    }

    pub(super) fn node(&self, id: NodeId) -> &Node<'a> {
        &self.nodes[id.0 as usize]
    }

    pub(super) fn nodes(&self) -> &[Node<'a>] {
        &self.nodes
    }
}

/// Read access to what has been built so far, for [`rebuild`].
pub(super) struct Nodes<'n, 'a>(&'n [Node<'a>]);

impl<'n, 'a> Nodes<'n, 'a> {
    pub(super) fn get(&self, id: NodeId) -> &'n Node<'a> {
        &self.0[id.0 as usize]
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    position: usize,
    nodes: Vec<Node<'a>>,
    stack: Vec<NodeId>,
    /// Stack heights at each open `MARK`.
    marks: Vec<usize>,
    memo: HashMap<u32, NodeId>,
    /// Dictionary items made by calls so far.
    copied: usize,
}

impl<'a> Machine<'a> {
    fn run(mut self) -> Result<Program<'a>, Fault> {
        for _ in 0..MAX_OPCODES {
            let [opcode] = self.array()?;
            if opcode == b'.' {
                let root = self.pop()?;
                return Ok(Program {
                    nodes: self.nodes,
                    root,
                    length: self.position,
                });
            }
            self.step(opcode)?;
        }
        Err(Fault::corrupt(format!(
            "its pickle has more than {MAX_OPCODES} instructions"
        )))
    }

    #[expect(
        clippy::too_many_lines,
        reason = "a table of opcodes, read best in one piece"
    )]
    fn step(&mut self, opcode: u8) -> Result<(), Fault> {
        match opcode {
            // Framing and protocol: nothing to build.
            0x80 => self.skip(1)?,
            0x95 => self.skip(8)?,

            // Constants.
            b'N' => self.push(Node::None)?,
            0x88 => self.push(Node::Bool(true))?,
            0x89 => self.push(Node::Bool(false))?,
            b'K' => {
                let [byte] = self.array()?;
                self.push(Node::Int(i64::from(byte)))?;
            }
            b'M' => {
                let value = u16::from_le_bytes(self.array()?);
                self.push(Node::Int(i64::from(value)))?;
            }
            b'J' => {
                let value = i32::from_le_bytes(self.array()?);
                self.push(Node::Int(i64::from(value)))?;
            }
            b'I' | b'L' => {
                let text = self.line()?;
                let node = match text {
                    "00" => Node::Bool(false),
                    "01" => Node::Bool(true),
                    _ => text
                        .trim_end_matches('L')
                        .parse()
                        .map_or(Node::Opaque, Node::Int),
                };
                self.push(node)?;
            }
            0x8a => {
                let [length] = self.array()?;
                self.push_long(usize::from(length))?;
            }
            0x8b => {
                let length = self.length4()?;
                self.push_long(length)?;
            }
            b'G' => {
                self.skip(8)?;
                self.push(Node::Opaque)?;
            }
            b'F' => {
                self.line()?;
                self.push(Node::Opaque)?;
            }

            // Strings: protocol 0 quoted lines, then counted ones.
            b'S' => {
                let quoted = self.line()?;
                let inner = quoted
                    .get(1..quoted.len().saturating_sub(1))
                    .unwrap_or_default();
                self.push(Node::Str(inner))?;
            }
            b'V' => {
                let text = self.line()?;
                self.push(Node::Str(text))?;
            }
            b'U' | b'C' | 0x8c => {
                let [length] = self.array()?;
                self.push_string(usize::from(length), opcode)?;
            }
            b'T' | b'B' | b'X' => {
                let length = self.length4()?;
                self.push_string(length, opcode)?;
            }
            0x8d | 0x8e | 0x96 => {
                let length = u64::from_le_bytes(self.array()?);
                let length = usize::try_from(length).map_err(|_| self.cut())?;
                self.push_string(length, opcode)?;
            }

            // Containers.
            b'(' => self.marks.push(self.stack.len()),
            b')' => self.push(Node::Tuple(Vec::new()))?,
            b']' => self.push(Node::List(Vec::new()))?,
            b'}' => self.push(Node::Dict(Vec::new()))?,
            0x8f => self.push(Node::Opaque)?,
            b't' => {
                let items = self.pop_mark()?;
                self.push(Node::Tuple(items))?;
            }
            0x85 => self.push_tuple(1)?,
            0x86 => self.push_tuple(2)?,
            0x87 => self.push_tuple(3)?,
            b'l' => {
                let items = self.pop_mark()?;
                self.push(Node::List(items))?;
            }
            b'd' => {
                let items = pairs(&self.pop_mark()?)?;
                self.push(Node::Dict(items))?;
            }
            0x91 => {
                self.pop_mark()?;
                self.push(Node::Opaque)?;
            }
            b'a' => {
                let item = self.pop()?;
                self.extend_list(&[item])?;
            }
            b'e' => {
                let items = self.pop_mark()?;
                self.extend_list(&items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.extend_dict(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.extend_dict(&items)?;
            }
            // Members of a set (sets are opaque), or values thrown away.
            0x90 | b'1' => {
                self.pop_mark()?;
            }

            // Stack and memo.
            b'0' => {
                // Python pops the mark instead when nothing lies above it.
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                } else {
                    self.pop()?;
                }
            }
            b'2' => self.stack.push(self.top()?),
            b'q' => {
                let [slot] = self.array()?;
                self.memoize(u32::from(slot))?;
            }
            b'r' => {
                let slot = u32::from_le_bytes(self.array()?);
                self.memoize(slot)?;
            }
            b'p' => {
                let slot = self
                    .line()?
                    .parse()
                    .map_err(|_| Fault::corrupt("its pickle has a bad memo slot"))?;
                self.memoize(slot)?;
            }
            0x94 => {
                let slot = u32::try_from(self.memo.len()).map_err(|_| self.cut())?;
                self.memoize(slot)?;
            }
            b'h' => {
                let [slot] = self.array()?;
                self.recall(u32::from(slot))?;
            }
            b'j' => {
                let slot = u32::from_le_bytes(self.array()?);
                self.recall(slot)?;
            }
            b'g' => {
                let slot = self
                    .line()?
                    .parse()
                    .map_err(|_| Fault::corrupt("its pickle has a bad memo slot"))?;
                self.recall(slot)?;
            }

            // Names and calls: the reason this machine exists.
            b'c' => {
                let module = self.line()?;
                let name = self.line()?;
                self.push_global(module, name)?;
            }
            0x93 => {
                let name = self.pop()?;
                let module = self.pop()?;
                let (Node::Str(module), Node::Str(name)) = (self.node(module), self.node(name))
                else {
                    return Err(Fault::corrupt(
                        "its pickle names a global by something else than text",
                    ));
                };
                let (module, name) = (*module, *name);
                self.push_global(module, name)?;
            }
            b'R' => {
                let arguments = self.pop()?;
                let callable = self.pop()?;
                let node = rebuild::call(&Nodes(&self.nodes), callable, arguments)?;
                if let Node::Dict(items) = &node {
                    self.copied += items.len();
                    if self.copied > MAX_COPIED {
                        return Err(Fault::corrupt(
                            "its pickle copies its dictionaries over and over",
                        ));
                    }
                }
                self.push(node)?;
            }
            // Protocol 0 and 1 spell a call of a class differently.
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                self.pop_mark()?;
                return Err(Fault::Refused(format!("{module}.{name}")));
            }
            b'o' => {
                let items = self.pop_mark()?;
                return match items.first().map(|&id| self.node(id)) {
                    Some(Node::Global(global)) => Err(Fault::Refused(global.clone())),
                    _ => Err(Fault::corrupt(
                        "its pickle calls something that has no name",
                    )),
                };
            }
            0x81 => {
                self.pop()?;
                self.push_object()?;
            }
            0x92 => {
                self.pop()?;
                self.pop()?;
                self.push_object()?;
            }
            b'b' => {
                let state = self.pop()?;
                let target = self.top()?;
                if let Node::Object { state: slot, .. } = &mut self.nodes[target.0 as usize] {
                    *slot = Some(state);
                }
            }
            b'Q' => {
                let id = self.pop()?;
                let node = rebuild::persistent(&Nodes(&self.nodes), id)?;
                self.push(node)?;
            }
            b'P' | 0x82..=0x84 | 0x97 | 0x98 => {
                return Err(Fault::Unsupported(format!(
                    "uses the pickle instruction {opcode:#04x}"
                )));
            }
            _ => {
                return Err(Fault::corrupt(format!(
                    "its pickle has the unknown instruction {opcode:#04x}"
                )));
            }
        }
        Ok(())
    }

    fn node(&self, id: NodeId) -> &Node<'a> {
        &self.nodes[id.0 as usize]
    }

    fn push(&mut self, node: Node<'a>) -> Result<(), Fault> {
        let id = u32::try_from(self.nodes.len())
            .map_err(|_| Fault::corrupt("its pickle is too long"))?;
        self.nodes.push(node);
        self.stack.push(NodeId(id));
        Ok(())
    }

    fn top(&self) -> Result<NodeId, Fault> {
        self.stack.last().copied().ok_or_else(underflow)
    }

    fn pop(&mut self) -> Result<NodeId, Fault> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(underflow());
        }
        self.stack.pop().ok_or_else(underflow)
    }

    fn pop_mark(&mut self) -> Result<Vec<NodeId>, Fault> {
        let mark = self.marks.pop().ok_or_else(underflow)?;
        if mark > self.stack.len() {
            return Err(underflow());
        }
        Ok(self.stack.split_off(mark))
    }

    fn push_global(&mut self, module: &str, name: &str) -> Result<(), Fault> {
        if module.len() + name.len() > MAX_GLOBAL_LENGTH {
            return Err(Fault::corrupt(format!(
                "its pickle has a name of {} bytes",
                module.len() + name.len()
            )));
        }
        self.push(Node::Global(format!("{module}.{name}")))
    }

    fn push_tuple(&mut self, count: usize) -> Result<(), Fault> {
        let mut items = vec![NodeId(0); count];
        for slot in items.iter_mut().rev() {
            *slot = self.pop()?;
        }
        self.push(Node::Tuple(items))
    }

    /// `cls.__new__(cls, …)`: nothing is constructed, only the class's name is kept.
    fn push_object(&mut self) -> Result<(), Fault> {
        let class = self.pop()?;
        let Node::Global(class) = self.node(class) else {
            return Err(Fault::corrupt(
                "its pickle constructs something that has no name",
            ));
        };
        let node = rebuild::construct(class);
        self.push(node)
    }

    fn push_long(&mut self, length: usize) -> Result<(), Fault> {
        let bytes = self.take(length)?;
        let node = if bytes.len() <= 8 {
            let sign = if bytes.last().is_some_and(|b| b & 0x80 != 0) {
                0xff
            } else {
                0
            };
            let mut wide = [sign; 8];
            wide[..bytes.len()].copy_from_slice(bytes);
            Node::Int(i64::from_le_bytes(wide))
        } else {
            Node::Opaque
        };
        self.push(node)
    }

    fn push_string(&mut self, length: usize, opcode: u8) -> Result<(), Fault> {
        let bytes = self.take(length)?;
        let node = match (opcode, str::from_utf8(bytes)) {
            // Bytes and bytearrays are never names; byte strings of Python 2 (`U`, `T`) are, when they are text.
            (b'C' | b'B' | 0x8e | 0x96, _) | (b'U' | b'T', Err(_)) => Node::Opaque,
            (_, Ok(text)) => Node::Str(text),
            (_, Err(_)) => return Err(Fault::corrupt("its pickle has text that is not UTF-8")),
        };
        self.push(node)
    }

    fn extend_list(&mut self, items: &[NodeId]) -> Result<(), Fault> {
        let target = self.top()?;
        match &mut self.nodes[target.0 as usize] {
            Node::List(list) => list.extend_from_slice(items),
            Node::Object { .. } | Node::Opaque => {}
            _ => {
                return Err(Fault::corrupt(
                    "its pickle appends to something that is no list",
                ));
            }
        }
        Ok(())
    }

    fn extend_dict(&mut self, items: &[NodeId]) -> Result<(), Fault> {
        let target = self.top()?;
        let items = pairs(items)?;
        match &mut self.nodes[target.0 as usize] {
            Node::Dict(dict) => dict.extend(items),
            Node::Object { .. } | Node::Opaque => {}
            _ => {
                return Err(Fault::corrupt(
                    "its pickle sets a key of something that is no dictionary",
                ));
            }
        }
        Ok(())
    }

    fn memoize(&mut self, slot: u32) -> Result<(), Fault> {
        let top = self.top()?;
        self.memo.insert(slot, top);
        Ok(())
    }

    fn recall(&mut self, slot: u32) -> Result<(), Fault> {
        let id = self.memo.get(&slot).copied();
        self.stack.push(id.ok_or_else(|| {
            Fault::corrupt(format!("its pickle recalls slot {slot}, which is empty"))
        })?);
        Ok(())
    }

    fn length4(&mut self) -> Result<usize, Fault> {
        let length = i32::from_le_bytes(self.array()?);
        usize::try_from(length).map_err(|_| Fault::corrupt("its pickle has a negative length"))
    }

    fn skip(&mut self, length: usize) -> Result<(), Fault> {
        self.take(length).map(drop)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| self.cut())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let end = self.position.checked_add(length);
        let bytes = end
            .and_then(|end| self.bytes.get(self.position..end))
            .ok_or_else(|| self.cut())?;
        self.position += length;
        Ok(bytes)
    }

    fn line(&mut self) -> Result<&'a str, Fault> {
        let rest = &self.bytes[self.position..];
        let length = rest
            .iter()
            .position(|&b| b == b'\n')
            .ok_or_else(|| self.cut())?;
        self.position += length + 1;
        str::from_utf8(&rest[..length])
            .map_err(|_| Fault::corrupt("its pickle has text that is not UTF-8"))
    }

    fn cut(&self) -> Fault {
        Fault::corrupt(format!(
            "its pickle is cut off after {} bytes",
            self.bytes.len()
        ))
    }
}

fn underflow() -> Fault {
    Fault::corrupt("its pickle takes values that it never made")
}

fn pairs(items: &[NodeId]) -> Result<Vec<(NodeId, NodeId)>, Fault> {
    let (pairs, rest) = items.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Fault::corrupt("its pickle has a key without a value"));
    }
    Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
}
