//! `issuances`, `acme_accounts`, `acme_challenges`, `acme_ledger`: how certificates are got. Written by who leads.

use slipway_domain::Timestamp;
use slipway_domain::domains::Reason;
use slipway_domain::secret::Sealed;

use crate::row::to_json;
use crate::{OwnNames, StoreError, Tx};

/// How the attempts to get a certificate go.
#[derive(Debug, Clone, Default)]
pub struct Issuance {
    /// Failures in a row.
    pub failures: u32,
    /// When it is tried again.
    pub next_try_at: Option<Timestamp>,
    /// What the last one said.
    pub error: Option<Reason>,
    /// An order that is under way.
    pub order: Option<OrderRow>,
}

/// An order that is under way.
#[derive(Debug, Clone)]
pub struct OrderRow {
    /// The directory of the CA.
    pub ca: String,
    /// Where it is.
    pub url: String,
    /// The key of the certificate, PKCS #8 PEM, sealed.
    pub sealed_key: Sealed,
}

impl OrderRow {
    /// Of the columns, if there is one.
    pub(crate) fn of(
        ca: Option<String>,
        url: Option<String>,
        bytes: Option<Vec<u8>>,
        key_version: Option<i32>,
    ) -> Option<Self> {
        Some(Self {
            ca: ca?,
            url: url?,
            sealed_key: Sealed {
                key_version: key_version?,
                bytes: bytes?,
            },
        })
    }
}

/// An account at a CA.
#[derive(Debug, Clone)]
pub struct AcmeAccount {
    /// Where it is.
    pub url: String,
    /// Its key and where the CA is, sealed.
    pub sealed_credentials: Sealed,
    /// Since when.
    pub created_at: Timestamp,
    /// When its key is to be replaced.
    pub roll_at: Timestamp,
}

/// How a CA checks a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChallengeKind {
    /// By plain HTTP (RFC 8555 section 8.3).
    Http01,
    /// In a TLS handshake (RFC 8737).
    TlsAlpn01,
    /// In DNS (RFC 8555 section 8.4).
    Dns01,
}

impl ChallengeKind {
    /// The word in the database and in the protocol.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Dns01 => "dns-01",
        }
    }

    /// Back from the word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Http01, Self::TlsAlpn01, Self::Dns01]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// What proxies answer to a CA.
#[derive(Debug, Clone)]
pub struct Challenge {
    /// For which name.
    pub host: String,
    /// How it is asked for.
    pub kind: ChallengeKind,
    /// Under which token.
    pub token: String,
    /// The answer.
    pub answer: String,
}

/// What was asked of a CA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LedgerKind {
    /// An order; its subject is empty.
    Order,
    /// A certificate for names that had none; its subject is the registered domain.
    Certificate,
    /// A certificate; its subject is all of its names.
    Duplicate,
    /// A check of a name that failed; its subject is the name.
    Failure,
}

impl LedgerKind {
    /// The word in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Certificate => "certificate",
            Self::Duplicate => "duplicate",
            Self::Failure => "failure",
        }
    }
}

impl Tx {
    /// When the next attempt that must wait is due.
    #[tracing::instrument(name = "db.next_try_at", level = "debug", skip_all)]
    pub async fn next_try_at(&mut self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let next = sqlx::query_scalar!("select min(next_try_at) from issuances where next_try_at > $1", now)
            .fetch_one(self.c())
            .await?;
        Ok(next)
    }

    /// Forgets what was planned by a clock that ran ahead and was set right since: attempts and revocations are due now. Gives
    /// how many there were.
    #[tracing::instrument(name = "db.forget_future_plans", level = "debug", skip_all)]
    pub async fn forget_future_plans(&mut self, now: Timestamp) -> Result<u64, StoreError> {
        let planned = sqlx::query!(
            "update issuances set next_try_at = $1, error = null, updated_at = $1 where updated_at > $1::timestamptz + interval '5 minutes'",
            now
        )
        .execute(self.c())
        .await?;
        // What was done counts against the limits from now on: it was not long ago.
        sqlx::query!(
            "update acme_ledger set at = $1 where at > $1::timestamptz + interval '5 minutes'",
            now
        )
        .execute(self.c())
        .await?;
        // None is asked for later than within an hour.
        let revocations = sqlx::query!(
            "update certificates set revoke_at = $1 where revoke_at > $1::timestamptz + interval '2 hours' and revoked_at is null",
            now
        )
        .execute(self.c())
        .await?;
        Ok(planned.rows_affected() + revocations.rows_affected())
    }

    /// Notes an order, so that it is gone on with whatever happens.
    #[tracing::instrument(name = "db.note_order", level = "debug", skip_all)]
    pub async fn note_order(&mut self, names: &[String], order: &OrderRow, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query!(
            "insert into issuances (names, ca, order_url, sealed_key, key_version, updated_at) values ($1, $2, $3, $4, $5, $6)
             on conflict (names) do update
                set ca = excluded.ca, order_url = excluded.order_url, sealed_key = excluded.sealed_key,
                    key_version = excluded.key_version, updated_at = excluded.updated_at",
            names,
            order.ca,
            order.url,
            order.sealed_key.bytes,
            order.sealed_key.key_version,
            now
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Notes a failure and when it is tried again, and whether the order is still good.
    #[tracing::instrument(name = "db.note_issuance_failure", level = "debug", skip_all)]
    pub async fn note_issuance_failure(
        &mut self,
        names: &[String],
        error: &Reason,
        keeps_order: bool,
        (now, next_try_at): (Timestamp, Timestamp),
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "insert into issuances (names, failures, next_try_at, error, updated_at) values ($1, 1, $2, $3, $4)
             on conflict (names) do update
                set failures = issuances.failures + 1, next_try_at = excluded.next_try_at, error = excluded.error,
                    order_url = case when $5 then issuances.order_url end, updated_at = excluded.updated_at",
            names,
            next_try_at,
            to_json(error)?,
            now,
            keeps_order
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Tries it again as soon as may be, if the last attempt was before a time: somebody may have mended something since. What
    /// the CA itself said to wait for is waited for.
    #[tracing::instrument(name = "db.try_soon", level = "debug", skip_all)]
    pub async fn try_soon(
        &mut self,
        names: &[String],
        tried_before: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "update issuances set next_try_at = $2
             where names = $1 and next_try_at > $2 and updated_at <= $3
               and coalesce(error ->> 'code' <> 'ca_rate_limited', true)",
            names,
            now,
            tried_before
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Notes until when it must wait, which is nobody's failure.
    #[tracing::instrument(name = "db.postpone_issuance", level = "debug", skip_all)]
    pub async fn postpone_issuance(
        &mut self,
        names: &[String],
        why: &Reason,
        (now, until): (Timestamp, Timestamp),
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "insert into issuances (names, next_try_at, error, updated_at) values ($1, $2, $3, $4)
             on conflict (names) do update
                set next_try_at = excluded.next_try_at, error = excluded.error, updated_at = excluded.updated_at",
            names,
            until,
            to_json(why)?,
            now
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// What was tried for names that nobody wants a certificate for any more is of no account.
    #[tracing::instrument(name = "db.forget_unwanted_issuances", level = "debug", skip_all)]
    pub async fn forget_unwanted_issuances(&mut self, own: &OwnNames) -> Result<u64, StoreError> {
        let done = sqlx::query!(
            "delete from issuances i
             where not array_to_string(names, ' ') = any($2)
               and not exists (select from domains d where i.names = array[d.host] and (d.kind = 'custom' or $1))",
            own.apps,
            &own.joined()
        )
        .execute(self.c())
        .await?;
        Ok(done.rows_affected())
    }

    /// There is a certificate, or nobody wants one any more: what went before is of no account.
    #[tracing::instrument(name = "db.forget_issuance", level = "debug", skip_all)]
    pub async fn forget_issuance(&mut self, names: &[String]) -> Result<(), StoreError> {
        sqlx::query!("delete from issuances where names = $1", names)
            .execute(self.c())
            .await?;
        Ok(())
    }

    /// The account at a CA.
    #[tracing::instrument(name = "db.acme_account", level = "debug", skip_all)]
    pub async fn acme_account(&mut self, ca: &str) -> Result<Option<AcmeAccount>, StoreError> {
        let row = sqlx::query!(
            "select account_url, sealed_credentials, key_version, created_at, roll_at from acme_accounts where ca = $1",
            ca
        )
        .fetch_optional(self.c())
        .await?;
        Ok(row.map(|r| AcmeAccount {
            url: r.account_url,
            sealed_credentials: Sealed {
                key_version: r.key_version,
                bytes: r.sealed_credentials,
            },
            created_at: r.created_at,
            roll_at: r.roll_at,
        }))
    }

    /// The URLs of all accounts.
    #[tracing::instrument(name = "db.acme_account_urls", level = "debug", skip_all)]
    pub async fn acme_account_urls(&mut self) -> Result<Vec<String>, StoreError> {
        Ok(sqlx::query_scalar!("select account_url from acme_accounts")
            .fetch_all(self.c())
            .await?)
    }

    /// Keeps the account at a CA, in place of the one before.
    #[tracing::instrument(name = "db.put_acme_account", level = "debug", skip_all)]
    pub async fn put_acme_account(&mut self, ca: &str, account: &AcmeAccount) -> Result<(), StoreError> {
        sqlx::query!(
            "insert into acme_accounts (ca, account_url, sealed_credentials, key_version, created_at, roll_at)
             values ($1, $2, $3, $4, $5, $6)
             on conflict (ca) do update
                set account_url = excluded.account_url, sealed_credentials = excluded.sealed_credentials,
                    key_version = excluded.key_version, created_at = excluded.created_at, roll_at = excluded.roll_at",
            ca,
            account.url,
            account.sealed_credentials.bytes,
            account.sealed_credentials.key_version,
            account.created_at,
            account.roll_at
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// The CAs at which the account's key is to be replaced.
    #[tracing::instrument(name = "db.accounts_to_roll", level = "debug", skip_all)]
    pub async fn accounts_to_roll(&mut self, now: Timestamp) -> Result<Vec<String>, StoreError> {
        let cas = sqlx::query_scalar!("select ca from acme_accounts where roll_at <= $1 order by ca", now)
            .fetch_all(self.c())
            .await?;
        Ok(cas)
    }

    /// Has the keys of accounts replaced at a time: of one CA or all; at how many.
    #[tracing::instrument(name = "db.roll_accounts", level = "debug", skip_all)]
    pub async fn roll_accounts(&mut self, ca: Option<&str>, at: Timestamp) -> Result<u64, StoreError> {
        let done = sqlx::query!(
            "update acme_accounts set roll_at = $2 where $1::text is null or ca = $1",
            ca,
            at
        )
        .execute(self.c())
        .await?;
        Ok(done.rows_affected())
    }

    /// Forgets the account at a CA that does not know it any more.
    #[tracing::instrument(name = "db.delete_acme_account", level = "debug", skip_all)]
    pub async fn delete_acme_account(&mut self, ca: &str) -> Result<(), StoreError> {
        sqlx::query!("delete from acme_accounts where ca = $1", ca)
            .execute(self.c())
            .await?;
        Ok(())
    }

    /// Gives proxies an answer, and says since which version they must have it.
    #[tracing::instrument(name = "db.put_challenges", level = "debug", skip_all)]
    pub async fn put_challenges(
        &mut self,
        challenges: &[Challenge],
        now: Timestamp,
    ) -> Result<slipway_domain::generation::RouteVersion, StoreError> {
        // Those that a crash left behind.
        sqlx::query!(
            "delete from acme_challenges where created_at < $1::timestamptz - interval '1 day'",
            now
        )
        .execute(self.c())
        .await?;
        for challenge in challenges {
            sqlx::query!(
                "insert into acme_challenges (host, kind, token, answer, created_at) values ($1, $2, $3, $4, $5)
                 on conflict (host, token) do update set kind = excluded.kind, answer = excluded.answer",
                challenge.host,
                challenge.kind.as_str(),
                challenge.token,
                challenge.answer,
                now
            )
            .execute(self.c())
            .await?;
        }
        self.bump_routes().await
    }

    /// Takes answers back.
    #[tracing::instrument(name = "db.delete_challenges", level = "debug", skip_all)]
    pub async fn delete_challenges(&mut self, challenges: &[Challenge]) -> Result<(), StoreError> {
        let tokens: Vec<String> = challenges.iter().map(|c| c.token.clone()).collect();
        let done = sqlx::query!("delete from acme_challenges where token = any($1)", &tokens)
            .execute(self.c())
            .await?;
        if done.rows_affected() > 0 {
            self.bump_routes().await?;
        }
        Ok(())
    }

    /// Writes down what was asked of a CA.
    #[tracing::instrument(name = "db.enter_ledger", level = "debug", skip_all)]
    pub async fn enter_ledger(
        &mut self,
        ca: &str,
        kind: LedgerKind,
        subject: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "insert into acme_ledger (ca, kind, subject, at) values ($1, $2, $3, $4)",
            ca,
            kind.as_str(),
            subject,
            now
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Whoever reads a CA's ledger to write into it does so one after the other, until the transaction ends: else several
    /// orders at once would take the same last place.
    #[tracing::instrument(name = "db.lock_ledger", level = "debug", skip_all)]
    pub async fn lock_ledger(&mut self, ca: &str) -> Result<(), StoreError> {
        sqlx::query!("select pg_advisory_xact_lock(hashtextextended($1, 0))", ca)
            .execute(self.c())
            .await?;
        Ok(())
    }

    /// When a CA was asked for something since a time, the newest first, at most so often.
    #[tracing::instrument(name = "db.ledger", level = "debug", skip_all)]
    pub async fn ledger(
        &mut self,
        ca: &str,
        kind: LedgerKind,
        subject: &str,
        since: Timestamp,
        limit: i64,
    ) -> Result<Vec<Timestamp>, StoreError> {
        let times = sqlx::query_scalar!(
            "select at from acme_ledger where ca = $1 and kind = $2 and subject = $3 and at > $4 order by at desc limit $5",
            ca,
            kind.as_str(),
            subject,
            since,
            limit
        )
        .fetch_all(self.c())
        .await?;
        Ok(times)
    }

    /// Forgets what no limit counts any more.
    #[tracing::instrument(name = "db.prune_ledger", level = "debug", skip_all)]
    pub async fn prune_ledger(&mut self, before: Timestamp) -> Result<(), StoreError> {
        sqlx::query!("delete from acme_ledger where at < $1", before)
            .execute(self.c())
            .await?;
        Ok(())
    }
}
