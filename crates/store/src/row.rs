//! From columns to domain types: the only place where a column can be wrong.

use std::fmt::Display;

use serde::de::DeserializeOwned;
use serde_json::Value;
use slipway_domain::spec::Spec;

use crate::error::StoreError;

pub(crate) fn bad(table: &'static str, column: &'static str, id: &impl Display) -> StoreError {
    StoreError::Inconsistent {
        table,
        column,
        id: id.to_string(),
    }
}

pub(crate) fn parse<T: std::str::FromStr>(
    text: &str,
    table: &'static str,
    column: &'static str,
    id: &impl Display,
) -> Result<T, StoreError> {
    text.parse().map_err(|_| bad(table, column, id))
}

pub(crate) fn json<T: DeserializeOwned>(
    value: Value,
    table: &'static str,
    column: &'static str,
    id: &impl Display,
) -> Result<T, StoreError> {
    serde_json::from_value(value).map_err(|_| bad(table, column, id))
}

pub(crate) fn spec(value: &Value, table: &'static str, id: &impl Display) -> Result<Spec, StoreError> {
    Spec::from_json(value).map_err(|_| bad(table, "spec", id))
}

pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> Result<Value, StoreError> {
    serde_json::to_value(value).map_err(|e| StoreError::Internal(e.to_string()))
}

/// An update that must have hit exactly one row.
pub(crate) fn one(rows: u64, what: &'static str) -> Result<(), StoreError> {
    if rows == 1 {
        Ok(())
    } else {
        Err(StoreError::LostRace(what))
    }
}
