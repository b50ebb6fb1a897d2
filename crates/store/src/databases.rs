//! `databases` and `database_attachments`: managed databases. What is wanted is written by the API, where each stands by
//! the scheduler.

use ipnet::{IpNet, Ipv4Net};
use slipway_domain::Timestamp;
use slipway_domain::database::{DatabaseSize, DatabaseState, PostgresVersion};
use slipway_domain::domains::Reason;
use slipway_domain::ids::{DatabaseId, EnvironmentId, TeamId};
use slipway_domain::image::Pin;
use slipway_domain::name::{AppName, DatabaseName, EnvironmentName, TeamName, VariableName};
use slipway_domain::quantity::{Bytes, MilliCpu};
use slipway_domain::secret::Sealed;

use crate::row::{bad, json, one, parse, to_json};
use crate::{Page, StoreError, Tx};

/// A managed database.
#[derive(Debug, Clone)]
pub struct Database {
    /// Its identifier.
    pub id: DatabaseId,
    /// Its name.
    pub name: DatabaseName,
    /// Whose it is.
    pub team: TeamId,
    /// The team's name.
    pub team_name: TeamName,
    /// The major version.
    pub version: PostgresVersion,
    /// The image as it was named.
    pub image: String,
    /// The very image.
    pub pin: Pin,
    /// How much its server may use.
    pub size: DatabaseSize,
    /// The passwords of its roles, sealed.
    pub sealed_passwords: Sealed,
    /// Grows with every change of what is wanted.
    pub generation: i64,
    /// When somebody said that it is to go.
    pub deleted_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// Where it stands.
    pub status: DatabaseStatus,
}

/// Where a database stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseStatus {
    /// In a word.
    pub state: DatabaseState,
    /// Since when.
    pub since: Timestamp,
    /// Why it is not as it should be.
    pub reason: Option<Reason>,
    /// Its network's subnet, once it has one.
    pub subnet: Option<String>,
    /// When it was ready first.
    pub ready_at: Option<Timestamp>,
    /// The server's own word for its version.
    pub server_version: Option<String>,
    /// What it takes on the disk.
    pub size_bytes: Option<u64>,
}

/// An environment that may reach a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The database.
    pub database: DatabaseId,
    /// Its name.
    pub database_name: DatabaseName,
    /// The environment.
    pub environment: EnvironmentId,
    /// Its app.
    pub app_name: AppName,
    /// Its name.
    pub environment_name: EnvironmentName,
    /// The secret that tells the app how.
    pub variable: VariableName,
    /// Who let it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
}

/// What was found out about a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseFacts {
    /// The server's own word for its version.
    pub server_version: String,
    /// What it takes on the disk.
    pub size_bytes: u64,
}

struct Row {
    id: uuid::Uuid,
    name: String,
    team_id: uuid::Uuid,
    team_name: String,
    version: i32,
    image: String,
    pin: serde_json::Value,
    memory_bytes: i64,
    cpu_millis: i32,
    connections: i32,
    sealed_passwords: Vec<u8>,
    key_version: i32,
    generation: i64,
    deleted_at: Option<Timestamp>,
    created_at: Timestamp,
    created_by: String,
    subnet: Option<String>,
    state: String,
    state_since: Timestamp,
    reason: Option<serde_json::Value>,
    ready_at: Option<Timestamp>,
    server_version: Option<String>,
    size_bytes: Option<i64>,
}

impl TryFrom<Row> for Database {
    type Error = StoreError;

    fn try_from(r: Row) -> Result<Self, StoreError> {
        let id = DatabaseId::from_uuid(r.id);
        let wrong = |column| bad("databases", column, &id);
        let version = u16::try_from(r.version).ok().and_then(PostgresVersion::of);
        Ok(Self {
            id,
            name: parse(&r.name, "databases", "name", &id)?,
            team: TeamId::from_uuid(r.team_id),
            team_name: parse(&r.team_name, "teams", "name", &id)?,
            version: version.ok_or_else(|| wrong("version"))?,
            image: r.image,
            pin: json(r.pin, "databases", "pin", &id)?,
            size: DatabaseSize {
                memory: Bytes(u64::try_from(r.memory_bytes).map_err(|_| wrong("memory_bytes"))?),
                cpu: MilliCpu(u32::try_from(r.cpu_millis).map_err(|_| wrong("cpu_millis"))?),
                connections: u32::try_from(r.connections).map_err(|_| wrong("connections"))?,
            },
            sealed_passwords: Sealed {
                key_version: r.key_version,
                bytes: r.sealed_passwords,
            },
            generation: r.generation,
            deleted_at: r.deleted_at,
            created_at: r.created_at,
            created_by: r.created_by,
            status: DatabaseStatus {
                state: DatabaseState::parse(&r.state).ok_or_else(|| wrong("state"))?,
                since: r.state_since,
                reason: r.reason.map(|v| json(v, "databases", "reason", &id)).transpose()?,
                subnet: r.subnet,
                ready_at: r.ready_at,
                server_version: r.server_version,
                size_bytes: r.size_bytes.and_then(|n| u64::try_from(n).ok()),
            },
        })
    }
}

/// Which ones are asked for: all of it is optional.
#[derive(Debug, Default)]
struct Asked<'a> {
    id: Option<DatabaseId>,
    name: Option<&'a str>,
    team: Option<TeamId>,
    after: Option<&'a str>,
    limit: Option<i64>,
}

impl Tx {
    async fn databases_asked(&mut self, asked: Asked<'_>) -> Result<Vec<Database>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            "select d.id, d.name, d.team_id, t.name as team_name, d.version, d.image, d.pin, d.memory_bytes, d.cpu_millis,
                    d.connections, d.sealed_passwords, d.key_version, d.generation, d.deleted_at, d.created_at, d.created_by,
                    d.subnet, d.state, d.state_since, d.reason, d.ready_at, d.server_version,
                    d.size_bytes
             from databases d join teams t on t.id = d.team_id
             where ($1::uuid is null or d.id = $1) and ($2::text is null or d.name = $2)
               and ($3::uuid is null or d.team_id = $3) and ($4::text is null or d.name collate \"C\" > $4)
             order by d.name collate \"C\" limit $5",
            asked.id.map(DatabaseId::uuid),
            asked.name,
            asked.team.map(TeamId::uuid),
            asked.after,
            asked.limit
        )
        .fetch_all(self.c())
        .await?;
        rows.into_iter().map(Database::try_from).collect()
    }

    /// Makes one; a name that is taken is a conflict.
    #[tracing::instrument(name = "db.insert_database", level = "debug", skip_all)]
    pub async fn insert_database(&mut self, d: &Database) -> Result<(), StoreError> {
        sqlx::query!(
            "insert into databases (id, name, team_id, version, image, pin, memory_bytes, cpu_millis, connections,
                                    sealed_passwords, key_version, created_at, created_by, state, state_since)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $12)",
            d.id.uuid(),
            d.name.as_str(),
            d.team.uuid(),
            i32::from(d.version.major()),
            d.image,
            to_json(&d.pin)?,
            i64::try_from(d.size.memory.0).unwrap_or(i64::MAX),
            i32::try_from(d.size.cpu.0).unwrap_or(i32::MAX),
            i32::try_from(d.size.connections).unwrap_or(i32::MAX),
            d.sealed_passwords.bytes,
            d.sealed_passwords.key_version,
            d.created_at,
            d.created_by,
            d.status.state.as_str()
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// One by its name.
    #[tracing::instrument(name = "db.database", level = "debug", skip_all)]
    pub async fn database(&mut self, name: &DatabaseName) -> Result<Option<Database>, StoreError> {
        let found = self
            .databases_asked(Asked {
                name: Some(name.as_str()),
                ..Asked::default()
            })
            .await?;
        Ok(found.into_iter().next())
    }

    /// One by its identifier.
    #[tracing::instrument(name = "db.database_by_id", level = "debug", skip_all)]
    pub async fn database_by_id(&mut self, id: DatabaseId) -> Result<Option<Database>, StoreError> {
        let found = self
            .databases_asked(Asked {
                id: Some(id),
                ..Asked::default()
            })
            .await?;
        Ok(found.into_iter().next())
    }

    /// One page of a team's, or of all, by name.
    #[tracing::instrument(name = "db.databases", level = "debug", skip_all)]
    pub async fn databases(&mut self, team: Option<TeamId>, page: &Page<String>) -> Result<Vec<Database>, StoreError> {
        self.databases_asked(Asked {
            team,
            after: page.after.as_deref(),
            limit: Some(page.limit()),
            ..Asked::default()
        })
        .await
    }

    /// How many a team has.
    #[tracing::instrument(name = "db.count_databases", level = "debug", skip_all)]
    pub async fn count_databases(&mut self, team: TeamId) -> Result<i64, StoreError> {
        let count = sqlx::query_scalar!(
            "select count(*) as \"count!\" from databases where team_id = $1",
            team.uuid()
        )
        .fetch_one(self.c())
        .await?;
        Ok(count)
    }

    /// All there are, each with the generation of what is wanted.
    #[tracing::instrument(name = "db.all_databases", level = "debug", skip_all)]
    pub async fn all_databases(&mut self) -> Result<Vec<(DatabaseId, i64)>, StoreError> {
        let rows = sqlx::query!("select id, generation from databases")
            .fetch_all(self.c())
            .await?;
        let all = rows.into_iter().map(|r| (DatabaseId::from_uuid(r.id), r.generation));
        Ok(all.collect())
    }

    /// Has it go.
    #[tracing::instrument(name = "db.delete_database", level = "debug", skip_all)]
    pub async fn delete_database(&mut self, id: DatabaseId, now: Timestamp) -> Result<(), StoreError> {
        let done = sqlx::query!(
            "update databases set deleted_at = coalesce(deleted_at, $2), generation = generation + 1 where id = $1",
            id.uuid(),
            now
        )
        .execute(self.c())
        .await?;
        one(done.rows_affected(), "the database")
    }

    /// Lets an environment reach it; a variable that another database has there is a conflict.
    #[tracing::instrument(name = "db.attach_database", level = "debug", skip_all)]
    pub async fn attach_database(
        &mut self,
        database: DatabaseId,
        environment: EnvironmentId,
        variable: &VariableName,
        (now, by): (Timestamp, &str),
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "insert into database_attachments (database_id, environment_id, variable, created_at, created_by)
             values ($1, $2, $3, $4, $5)",
            database.uuid(),
            environment.uuid(),
            variable.as_str(),
            now,
            by
        )
        .execute(self.c())
        .await?;
        self.database_changed(database).await
    }

    /// Lets it reach it no more; false when it could not before.
    #[tracing::instrument(name = "db.detach_database", level = "debug", skip_all)]
    pub async fn detach_database(
        &mut self,
        database: DatabaseId,
        environment: EnvironmentId,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "delete from database_attachments where database_id = $1 and environment_id = $2",
            database.uuid(),
            environment.uuid()
        )
        .execute(self.c())
        .await?;
        self.database_changed(database).await?;
        Ok(done.rows_affected() == 1)
    }

    async fn database_changed(&mut self, id: DatabaseId) -> Result<(), StoreError> {
        sqlx::query!(
            "update databases set generation = generation + 1 where id = $1",
            id.uuid()
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// An environment that goes reaches none any more.
    #[tracing::instrument(name = "db.detach_databases", level = "debug", skip_all)]
    pub async fn detach_databases(&mut self, environment: EnvironmentId) -> Result<(), StoreError> {
        sqlx::query!(
            "with gone as (delete from database_attachments where environment_id = $1 returning database_id)
             update databases set generation = generation + 1 where id in (select database_id from gone)",
            environment.uuid()
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Who may reach a database, or what an environment may reach.
    #[tracing::instrument(name = "db.attachments", level = "debug", skip_all)]
    pub async fn attachments(
        &mut self,
        database: Option<DatabaseId>,
        environment: Option<EnvironmentId>,
    ) -> Result<Vec<Attachment>, StoreError> {
        let rows = sqlx::query!(
            "select x.database_id, d.name as database_name, x.environment_id, a.name as app, e.name as environment, x.variable,
                    x.created_at, x.created_by
             from database_attachments x join databases d on d.id = x.database_id
             join environments e on e.id = x.environment_id join apps a on a.id = e.app_id
             where ($1::uuid is null or x.database_id = $1) and ($2::uuid is null or x.environment_id = $2)
             order by a.name, e.name, d.name",
            database.map(DatabaseId::uuid),
            environment.map(EnvironmentId::uuid)
        )
        .fetch_all(self.c())
        .await?;
        rows.into_iter()
            .map(|r| {
                let database = DatabaseId::from_uuid(r.database_id);
                Ok(Attachment {
                    database,
                    database_name: parse(&r.database_name, "databases", "name", &database)?,
                    environment: EnvironmentId::from_uuid(r.environment_id),
                    app_name: parse(&r.app, "apps", "name", &database)?,
                    environment_name: parse(&r.environment, "environments", "name", &database)?,
                    variable: parse(&r.variable, "database_attachments", "variable", &database)?,
                    created_by: r.created_by,
                    created_at: r.created_at,
                })
            })
            .collect()
    }

    /// Notes where it stands; fence the transaction first.
    #[tracing::instrument(name = "db.note_database", level = "debug", skip_all)]
    pub async fn note_database(
        &mut self,
        id: DatabaseId,
        (state, reason): (DatabaseState, Option<&Reason>),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.fenced()?;
        sqlx::query!(
            "update databases set state_since = case when state = $2 then state_since else $4 end, state = $2, reason = $3,
                    ready_at = case when $2 = 'ready' then coalesce(ready_at, $4) else ready_at end
             where id = $1",
            id.uuid(),
            state.as_str(),
            reason.map(to_json).transpose()?,
            now
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Notes what was found out about its server; fence the transaction first.
    #[tracing::instrument(name = "db.note_database_facts", level = "debug", skip_all)]
    pub async fn note_database_facts(&mut self, id: DatabaseId, facts: &DatabaseFacts) -> Result<(), StoreError> {
        self.fenced()?;
        sqlx::query!(
            "update databases set server_version = $2, size_bytes = $3 where id = $1",
            id.uuid(),
            facts.server_version,
            i64::try_from(facts.size_bytes).unwrap_or(i64::MAX)
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Gives its network a subnet of the pool that nothing else uses; `None` when all are used.
    #[tracing::instrument(name = "db.allocate_database_subnet", level = "debug", skip_all)]
    pub async fn allocate_database_subnet(
        &mut self,
        id: DatabaseId,
        lost: Option<&str>,
        pool: Ipv4Net,
        taken: &[IpNet],
    ) -> Result<Option<String>, StoreError> {
        self.lock_subnets().await?;
        sqlx::query!(
            "update databases set subnet = null where id = $1 and subnet = $2",
            id.uuid(),
            lost
        )
        .execute(self.c())
        .await?;
        let own = sqlx::query_scalar!("select subnet from databases where id = $1", id.uuid())
            .fetch_optional(self.c())
            .await?;
        let own = own.ok_or(StoreError::LostRace("the database"))?;
        if own.is_some() {
            return Ok(own);
        }
        let Some(free) = self.free_subnet(pool, taken).await? else {
            return Ok(None);
        };
        sqlx::query!("update databases set subnet = $2 where id = $1", id.uuid(), free)
            .execute(self.c())
            .await?;
        Ok(Some(free))
    }

    /// Forgets one of which nothing is left; fence the transaction first.
    #[tracing::instrument(name = "db.purge_database", level = "debug", skip_all)]
    pub async fn purge_database(&mut self, id: DatabaseId) -> Result<(), StoreError> {
        self.fenced()?;
        sqlx::query!("delete from database_attachments where database_id = $1", id.uuid())
            .execute(self.c())
            .await?;
        sqlx::query!(
            "delete from databases where id = $1 and deleted_at is not null",
            id.uuid()
        )
        .execute(self.c())
        .await?;
        Ok(())
    }
}
