-- Backups of managed databases: which stretches of their logs are stored, and which copies. All of it can be read back
-- from the storage itself; backups outlive their databases, so nothing here refers to one.

create table backup_streams (
    database_id uuid primary key,
    state text not null check (state in ('connecting', 'streaming', 'failing')),
    state_since timestamptz not null,
    reason jsonb
);
comment on table backup_streams is 'Whether the log of a database is being stored, written by the backup worker.';

create table backup_spans (
    id uuid primary key,
    database_id uuid not null,
    system text not null,
    timeline bigint not null,
    segment_bytes bigint not null,
    from_lsn bigint not null,
    to_lsn bigint not null check (to_lsn >= from_lsn),
    began_at timestamptz not null,
    covered_at timestamptz not null,
    ended_at timestamptz,
    ended_reason jsonb
);
comment on table backup_spans is 'Stretches of a log that are stored without a gap.';
comment on column backup_spans.covered_at is 'What was committed before is stored, by the clock of the server.';
create unique index backup_spans_open on backup_spans (database_id) where ended_at is null;
create index backup_spans_database on backup_spans (database_id, began_at);

create table backups (
    id uuid primary key,
    database_id uuid not null,
    database_name text not null,
    team_id uuid not null references teams,
    kind text not null check (kind in ('base')),
    state text not null check (state in ('waiting', 'running', 'stored', 'failed', 'expiring')),
    reason jsonb,
    requested_by text not null,
    created_at timestamptz not null,
    started_at timestamptz,
    ended_at timestamptz,
    span_id uuid references backup_spans,
    from_lsn bigint,
    to_lsn bigint,
    source_bytes bigint,
    done_bytes bigint not null default 0,
    stored_bytes bigint
);
comment on table backups is 'Copies of whole servers. The API asks for one, the backup worker does the rest.';
create unique index backups_one on backups (database_id, kind) where state in ('waiting', 'running');
create index backups_database on backups (database_id, id);

create table backup_objects (
    database_id uuid not null,
    span_id uuid not null references backup_spans,
    key text not null,
    from_lsn bigint not null,
    to_lsn bigint not null,
    last_at timestamptz not null,
    bytes bigint not null,
    sha256 text not null,
    is_part boolean not null,
    primary key (database_id, key)
);
comment on table backup_objects is 'Pieces of logs in the storage. Parts of a segment go when the whole of it is there.';
create index backup_objects_span on backup_objects (span_id, to_lsn);

create trigger backups_asked after insert on backups
    for each statement execute function notify_databases();
