//! A thin safe binding of the oneDNN calls that Regraft uses
#![warn(missing_docs)]
