//! Blocks that more than one family uses. They know no family.

mod conv_norm;

pub(crate) use conv_norm::{ConvNorm, NormConfig, conv_norm, conv_norm_activation};
