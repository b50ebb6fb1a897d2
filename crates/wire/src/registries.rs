//! Pull credentials. Passwords go in and never come out.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Stored pull credentials, without the password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Registry {
    /// Host and port.
    pub host: String,
    /// The user name.
    pub username: String,
    /// When they were last set.
    pub updated_at: DateTime<Utc>,
    /// By whom.
    pub updated_by: String,
}

/// Pull credentials to store.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRegistry {
    /// The user name.
    pub username: String,
    /// The password or token.
    #[schema(format = Password)]
    pub password: String,
}

impl std::fmt::Debug for NewRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewRegistry {{ username: {:?}, password: **** }}", self.username)
    }
}
