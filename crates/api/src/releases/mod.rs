//! `/v1/apps/{app}/releases`.

pub(crate) mod list;
