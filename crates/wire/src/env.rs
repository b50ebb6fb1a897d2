//! Plain variables.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use slipway_domain::name::VariableName;
use utoipa::ToSchema;

/// The variables of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Env {
    /// Name to value.
    pub env: BTreeMap<String, String>,
    /// The generation of the spec they are part of, as in its `ETag`.
    pub generation: i64,
}

/// All variables anew: what is left out goes.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEnv {
    /// Name to value.
    #[schema(value_type = BTreeMap<String, String>)]
    pub env: BTreeMap<VariableName, String>,
}

/// Some variables: `null` removes one, what is left out stays.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvChange {
    /// Name to value or `null`.
    #[schema(value_type = BTreeMap<String, Option<String>>)]
    pub env: BTreeMap<VariableName, Option<String>>,
}
