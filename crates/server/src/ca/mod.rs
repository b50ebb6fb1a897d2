//! The internal CA: certificates for names that only this machine or this network resolves.
//!
//! Promises: the root is made once and lives ten years; leaves live ninety days and are replaced with a third of that
//! left; the root's key never leaves its file.

mod issue;
mod plan;

pub(crate) use issue::InternalCa;
pub(crate) use plan::plan;
