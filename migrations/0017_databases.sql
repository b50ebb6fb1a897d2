-- Managed databases: what is wanted of each, and where it stands.

create table databases (
    id uuid primary key,
    name text not null,
    team_id uuid not null references teams,
    version integer not null,
    image text not null,
    pin jsonb not null,
    memory_bytes bigint not null,
    cpu_millis integer not null,
    connections integer not null,
    sealed_passwords bytea not null,
    key_version integer not null,
    generation bigint not null default 1,
    deleted_at timestamptz,
    created_at timestamptz not null,
    created_by text not null,
    subnet text,
    state text not null check (state in ('creating', 'ready', 'unavailable', 'failed', 'deleting')),
    state_since timestamptz not null,
    reason jsonb,
    ready_at timestamptz,
    server_version text,
    size_bytes bigint,
    constraint databases_name_key unique (name),
    constraint databases_subnet_key unique (subnet)
);
comment on table databases is 'Managed databases. The API writes what is wanted, the scheduler the columns from subnet on.';
comment on column databases.pin is 'The very image that its server runs.';
comment on column databases.sealed_passwords is 'The passwords of its roles, as one sealed JSON object.';
comment on column databases.generation is 'Grows with every change of what is wanted, who may reach it included.';
comment on column databases.deleted_at is 'When somebody said that it is to go; the row goes when everything of it has.';
create index databases_team on databases (team_id, name);

create table database_attachments (
    database_id uuid not null references databases,
    environment_id uuid not null references environments on delete cascade,
    variable text not null,
    created_at timestamptz not null,
    created_by text not null,
    primary key (database_id, environment_id),
    constraint database_attachments_variable_key unique (environment_id, variable)
);
comment on table database_attachments is 'Which environments may reach which database, and the secret that tells them how.';

create function notify_databases() returns trigger language plpgsql as $$
begin
    perform pg_notify('slipway_databases', '');
    return null;
end $$;
create trigger databases_changed after insert or update of generation, deleted_at on databases
    for each statement execute function notify_databases();
