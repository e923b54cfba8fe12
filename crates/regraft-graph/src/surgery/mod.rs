//! Transfer learning as functions from graph to graph: a new head, freezing, the cut at the frozen boundary, batch
//! norm folded into convolutions.

mod cut;
mod dropout;
mod fold;
mod freeze;
mod head;

pub use cut::{Cut, frozen_boundary, frozen_nodes, join, split};
pub use dropout::{set_drop_path_rate, set_dropout};
pub use fold::{Fold, fold_batch_norm};
pub use freeze::{freeze, freeze_all, unfreeze};
pub use head::{HeadSpec, replace_head};
