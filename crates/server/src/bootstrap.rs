//! What must be there before the first request: the team, the admin token, the master key's proof, certificates.
//!
//! Promises: every step finds what an earlier start left and does nothing twice; a wrong master key is noticed before
//! anything is sealed with it.

use std::path::Path;
use std::sync::Arc;

use slipway_domain::access::{Reach, Scope};
use slipway_domain::ids::{TeamId, TokenId};
use slipway_domain::limits::TeamLimits;
use slipway_domain::name::{TeamName, TokenName};
use slipway_domain::token::{Token, TokenKind};
use slipway_domain::{Clock, Entropy, Timestamp};
use slipway_store::{Store, StoreError, Team, TokenRow, Tx};
use slipway_vault::Vault;

use crate::error::ServerError;
use crate::files;

/// What tells this installation's things on an engine from another's: made once, and kept with the data.
pub(crate) fn installation(data_dir: &Path, now: Timestamp, entropy: &dyn Entropy) -> Result<String, ServerError> {
    if let Some(kept) = known_installation(data_dir)? {
        return Ok(kept);
    }
    let made = slipway_domain::ids::uuid_v7(now, entropy).to_string();
    files::write_secret(&data_dir.join(INSTALLATION_FILE), made.as_bytes())?;
    Ok(made)
}

/// The same, if there is one: what shows that a directory is a platform's.
pub(crate) fn known_installation(data_dir: &Path) -> Result<Option<String>, ServerError> {
    let kept = files::read_secret(&data_dir.join(INSTALLATION_FILE))?;
    Ok(kept.map(|text| text.trim().to_owned()))
}

/// Where it is kept.
pub(crate) const INSTALLATION_FILE: &str = "installation";

/// The vault that belongs to the database: checked against it, or made and checked in on the first start.
///
/// A key file that is missing though the database was sealed before is not made anew: that would hide the loss.
pub(crate) async fn vault(
    store: &Store,
    path: &Path,
    dumps: &Path,
    entropy: Arc<dyn Entropy>,
) -> Result<Vault, ServerError> {
    let mut tx = store.begin().await?;
    let check = tx.key_check().await?;
    if check.is_some() && !path.exists() {
        return Err(ServerError::Setup(format!(
            "the master key file {} is missing, and this database was sealed with it: put it back from your copy or from \
             {}/*.key, or set SLIPWAY_MASTER_KEY_FILE to where it is",
            path.display(),
            dumps.display()
        )));
    }
    let vault = Vault::load_or_create(path, entropy).map_err(|e| ServerError::Setup(e.to_string()))?;
    if let Some(sealed) = check {
        vault.verify_key_check(&sealed).map_err(|error| {
            ServerError::Setup(format!(
                "the master key in {} is not the one this database was sealed with ({error}): put the right key file back, \
                 or set SLIPWAY_MASTER_KEY_FILE",
                path.display()
            ))
        })?;
    } else {
        let check = vault.key_check().map_err(|e| ServerError::Setup(e.to_string()))?;
        tx.set_key_check(&check).await?;
        tx.commit().await?;
    }
    Ok(vault)
}

/// Makes the first team if there is none.
pub(crate) async fn first_team(store: &Store, clock: &dyn Clock, entropy: &dyn Entropy) -> Result<TeamId, ServerError> {
    let mut tx = store.begin().await?;
    if let Some(team) = tx.team_by_name(&TeamName::first()).await? {
        return Ok(team.id);
    }
    let now = clock.now();
    let team = Team {
        id: TeamId::mint(now, entropy),
        name: TeamName::first(),
        created_at: now,
        limits: TeamLimits::default(),
    };
    tx.insert_team(&team).await?;
    tx.commit().await?;
    Ok(team.id)
}

/// The first admin token: the one that was given, or the one in the file, or a new one in the file.
///
/// One that was revoked or is over stays what it is while another administrator is left: whoever ended it meant it.
/// Where none is left there is a new one.
pub(crate) async fn admin_token(
    store: &Store,
    team: TeamId,
    given: Option<&Token>,
    path: &Path,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<(), ServerError> {
    let token = match (given, files::read_secret(path)?) {
        (Some(given), _) => given.clone(),
        (None, Some(text)) => text.trim().parse().map_err(|error| {
            ServerError::Setup(format!(
                "{} does not hold a token ({error}): remove the file to get a new one",
                path.display()
            ))
        })?,
        (None, None) => Token::mint(TokenKind::Pat, entropy),
    };
    let now = clock.now();
    let mut tx = store.begin().await?;
    if tx.caller_by_hash(&token.hash(), now).await?.is_some() {
        return files::write_secret(path, token.expose().as_bytes());
    }
    match insert_admin(tx, team, &token, now, entropy).await {
        Ok(()) => return files::write_secret(path, token.expose().as_bytes()),
        Err(StoreError::Duplicate(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let mut tx = store.begin().await?;
    if tx.is_other_admin_left(None, now).await? {
        return Ok(());
    }
    if given.is_some() {
        return Err(ServerError::Setup(
            "the token of SLIPWAY_BOOTSTRAP_TOKEN was revoked, and there is no other administrator: give another one"
                .into(),
        ));
    }
    let token = Token::mint(TokenKind::Pat, entropy);
    insert_admin(tx, team, &token, now, entropy).await?;
    tracing::warn!(path = %path.display(), "admin.token: no administrator was left, there is a new one");
    files::write_secret(path, token.expose().as_bytes())
}

async fn insert_admin(
    mut tx: Tx,
    team: TeamId,
    token: &Token,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<(), StoreError> {
    let row = TokenRow {
        id: TokenId::mint(now, entropy),
        team,
        name: TokenName::administrator(),
        kind: token.kind(),
        reach: Reach {
            scopes: vec![Scope::Admin],
            apps: None,
            environments: None,
        },
        created_at: now,
        created_by: "bootstrap".into(),
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
    };
    tx.insert_token(&row, &token.hash()).await?;
    tx.commit().await
}
