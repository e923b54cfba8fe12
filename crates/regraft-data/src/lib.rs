//! Images from folders to normalised batches
#![warn(missing_docs)]
