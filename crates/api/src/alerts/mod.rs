//! What somebody is told of.

pub(crate) mod list;
