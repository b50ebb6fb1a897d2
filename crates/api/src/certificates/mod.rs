//! `/v1/certificates`: those in use and those to be had. Keys never come out.

pub(crate) mod list;
pub(crate) mod roll;
pub(crate) mod root;
