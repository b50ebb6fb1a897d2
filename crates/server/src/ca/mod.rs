//! The internal CA: certificates for names that only this machine or this network resolves.
//!
//! Promises: the root is made once and lives ten years; leaves live ninety days; the root's key never leaves its file.

mod issue;

pub(crate) use issue::InternalCa;
