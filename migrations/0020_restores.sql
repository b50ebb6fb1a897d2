-- Databases that are made from backups.

alter table databases drop constraint databases_state_check;
alter table databases add constraint databases_state_check
    check (state in ('restoring', 'creating', 'ready', 'unavailable', 'failed', 'deleting'));

create table restores (
    database_id uuid primary key,
    source_id uuid not null,
    source_name text not null,
    backup_id uuid not null,
    span_id uuid not null references backup_spans,
    to_lsn bigint not null,
    until timestamptz,
    sealed_passwords bytea not null,
    key_version integer not null,
    phase text not null default 'waiting'
        check (phase in ('waiting', 'fetching', 'unpacking', 'replaying', 'done', 'failed')),
    reason jsonb,
    done_bytes bigint not null default 0,
    total_bytes bigint,
    requested_by text not null,
    created_at timestamptz not null,
    started_at timestamptz,
    ended_at timestamptz,
    restored_to timestamptz
);
comment on table restores is 'What each restored database is made from, and how far it is. The API asks, the backup worker does the rest.';
comment on column restores.sealed_passwords is 'Those of the source, which the restored server has until it gets its own; sealed for the restored one.';
comment on column restores.restored_to is 'When the last transaction was committed that it has.';
create index restores_pending on restores (created_at) where phase not in ('done', 'failed');
create trigger restores_asked after insert on restores for each statement execute function notify_databases();
