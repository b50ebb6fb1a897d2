//! Our account at a CA: made once, its key sealed.

use std::path::PathBuf;
use std::sync::Arc;

use chrono::TimeDelta;
use instant_acme::{Account, AccountBuilder, AccountCredentials, Error, ExternalAccountKey, NewAccount};
use slipway_domain::ports::SealContext;
use slipway_domain::secret::Secret;
use slipway_store::{AcmeAccount, StoreError};
use tokio::sync::{Mutex, RwLock, RwLockReadGuard};

use crate::Deps;
use crate::lead::Lead;
use crate::nonce::{CallError, call};

/// An account's key is replaced after so long.
const KEY_LIFE: TimeDelta = TimeDelta::days(365);

/// A CA, and how it is reached.
#[derive(Clone)]
pub struct CaSettings {
    /// Its directory (RFC 8555 section 7.1.1).
    pub directory: String,
    /// Whom it may write to.
    pub email: Option<String>,
    /// Its own root certificate, where the machine does not trust it.
    pub roots: Option<PathBuf>,
    /// What it knows us by already (RFC 8555 section 7.3.4).
    pub external: Option<ExternalAccount>,
    /// Where orders can be tried out.
    pub staging: Option<String>,
    /// The kind of certificate to ask for, where it has that.
    pub profile: Option<String>,
    /// The account in use.
    account: Arc<Mutex<Option<Account>>>,
    /// Held by whoever calls with its key, so that none is replaced meanwhile.
    calls: Arc<RwLock<()>>,
}

/// What a CA knows a customer by.
#[derive(Clone)]
pub struct ExternalAccount {
    /// The key's identifier.
    pub key_id: String,
    /// The key.
    pub hmac_key: Vec<u8>,
}

impl CaSettings {
    /// A CA that has not been asked for anything yet.
    pub fn new(
        directory: String,
        email: Option<String>,
        roots: Option<PathBuf>,
        external: Option<ExternalAccount>,
    ) -> Self {
        Self {
            directory,
            email,
            roots,
            external,
            staging: None,
            profile: None,
            account: Arc::default(),
            calls: Arc::default(),
        }
    }

    /// The same CA's directory for trying out, which is another one to it.
    pub(crate) fn staged(&self) -> Option<Self> {
        let directory = self.staging.clone()?;
        let mut staged = Self::new(directory, self.email.clone(), self.roots.clone(), self.external.clone());
        staged.profile.clone_from(&self.profile);
        Some(staged)
    }

    fn builder(&self) -> Result<AccountBuilder, Error> {
        match &self.roots {
            Some(roots) => Account::builder_with_root(roots),
            None => Account::builder(),
        }
    }

    /// The account: the one in use, the one in the database, or a new one.
    pub(crate) async fn account(&self, deps: &Deps, lead: Lead) -> Result<Account, CallError> {
        let mut cached = self.account.lock().await;
        if let Some(account) = cached.as_ref() {
            return Ok(account.clone());
        }
        let account = match self.kept(deps).await? {
            Some(credentials) => self.restored(credentials).await?,
            None => self.register(deps, lead).await?,
        };
        *cached = Some(account.clone());
        Ok(account)
    }

    /// As long as that is held the account keeps its key.
    pub(crate) async fn in_use(&self) -> RwLockReadGuard<'_, ()> {
        self.calls.read().await
    }

    /// Forgets the account: the CA does not know it any more, and the next use makes a new one.
    pub(crate) async fn disown(&self, deps: &Deps, lead: Lead) -> Result<(), StoreError> {
        tracing::warn!(
            ca = self.directory,
            "acme.account_gone: the CA does not know it, a new one is made"
        );
        let mut tx = lead.begin(&deps.store).await?;
        tx.delete_acme_account(&self.directory).await?;
        tx.commit().await?;
        *self.account.lock().await = None;
        Ok(())
    }

    async fn kept(&self, deps: &Deps) -> Result<Option<String>, CallError> {
        let away = |e: &dyn std::fmt::Display| CallError::Away(format!("the platform's database: {e}"));
        let mut tx = deps.store.begin().await.map_err(|e| away(&e))?;
        let Some(row) = tx.acme_account(&self.directory).await.map_err(|e| away(&e))? else {
            return Ok(None);
        };
        let opened = deps.sealer.open(self.context(), &row.sealed_credentials);
        // A key that does not open is as good as lost: a new account does as well (F-57).
        Ok(opened
            .inspect_err(
                |error| tracing::error!(%error, ca = self.directory, "acme.account_key_lost: a new account is made"),
            )
            .ok()
            .map(|secret| secret.expose().to_owned()))
    }

    fn context(&self) -> SealContext<'_> {
        SealContext {
            team: None,
            kind: "acme_account",
            id: &self.directory,
        }
    }

    async fn restored(&self, credentials: String) -> Result<Account, CallError> {
        call!(async {
            let credentials: AccountCredentials = serde_json::from_str(&credentials)?;
            self.builder()?.from_credentials(credentials).await
        })
    }

    async fn register(&self, deps: &Deps, lead: Lead) -> Result<Account, CallError> {
        let contact: Vec<String> = self.email.iter().map(|e| format!("mailto:{e}")).collect();
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let external = self
            .external
            .as_ref()
            .map(|e| ExternalAccountKey::new(e.key_id.clone(), &e.hmac_key));
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let (account, credentials) = call!(async {
            let builder = self.builder()?;
            builder.create(&new, self.directory.clone(), external.as_ref()).await
        })?;
        let keep = self.keep(deps, lead, &account, &credentials).await;
        keep.map_err(|e| CallError::Away(format!("the account cannot be kept: {e}")))?;
        tracing::info!(ca = self.directory, account = account.id(), "acme.account_made");
        Ok(account)
    }

    async fn keep(
        &self,
        deps: &Deps,
        lead: Lead,
        account: &Account,
        credentials: &AccountCredentials,
    ) -> Result<(), String> {
        let text = serde_json::to_string(credentials).map_err(|e| e.to_string())?;
        let sealed = deps
            .sealer
            .seal(self.context(), &Secret::new(text))
            .map_err(|e| e.to_string())?;
        let now = deps.clock.now();
        let row = AcmeAccount {
            url: account.id().to_owned(),
            sealed_credentials: sealed,
            created_at: now,
            roll_at: now + KEY_LIFE,
        };
        let mut tx = lead.begin(&deps.store).await.map_err(|e| e.to_string())?;
        tx.put_acme_account(&self.directory, &row)
            .await
            .map_err(|e| e.to_string())?;
        tx.commit().await.map_err(|e| e.to_string())
    }

    /// Gives the account a new key. One that the CA took and that cannot be kept costs the account: then the next order
    /// makes a new one.
    pub(crate) async fn roll(&self, deps: &Deps, lead: Lead) -> Result<(), CallError> {
        // A CA refuses what is signed by the old key, orders under way among it.
        let _alone = self.calls.write().await;
        let mut account = self.account(deps, lead).await?;
        let mut cached = self.account.lock().await;
        let credentials = call!(account.update_key())?;
        *cached = Some(account.clone());
        self.keep(deps, lead, &account, &credentials)
            .await
            .map_err(|e| CallError::Away(format!("the new key cannot be kept: {e}")))?;
        tracing::info!(ca = self.directory, "acme.account_key_rolled");
        Ok(())
    }
}
