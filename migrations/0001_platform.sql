-- The spine: teams and what they own, what should be (spec side), what is (status side), and the record of both.
-- Spec-side tables are written by the API, status-side tables only by the scheduler; a rule the access code keeps.
-- Every row of a tenant names its team.

create table platform (
    only_row boolean primary key default true check (only_row),
    created_at timestamptz not null default now(),
    -- Sealed known text: a master key that does not open it is the wrong one.
    key_check bytea,
    key_check_version integer
);
comment on table platform is 'Facts about this installation; one row.';
insert into platform default values;

create table teams (
    id uuid primary key,
    name text not null constraint teams_name_key unique,
    created_at timestamptz not null
);
comment on table teams is 'Owners of apps, registries and tokens.';

create table tokens (
    id uuid primary key,
    team_id uuid not null references teams,
    name text not null,
    kind text not null check (kind in ('pat', 'dpl', 'svc')),
    hash bytea not null constraint tokens_hash_key unique check (length(hash) = 32),
    scopes text[] not null,
    apps text[],
    environments text[],
    created_at timestamptz not null,
    created_by text not null,
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz
);
comment on table tokens is 'API tokens; only the SHA-256 of their text.';
comment on column tokens.apps is 'Only these apps; null means all of the team.';
comment on column tokens.expires_at is 'Null only for the bootstrap administrator.';
create index tokens_team on tokens (team_id, id);

create table registries (
    team_id uuid not null references teams,
    host text not null,
    username text not null,
    sealed_password bytea not null,
    key_version integer not null,
    updated_at timestamptz not null,
    updated_by text not null,
    primary key (team_id, host)
);
comment on table registries is 'Pull credentials per team and registry host; write-only through the API.';

create table apps (
    id uuid primary key,
    team_id uuid not null references teams,
    name text not null constraint apps_name_key unique,
    created_at timestamptz not null,
    created_by text not null
);
comment on table apps is 'Apps; a deleted app''s row goes when its last environment is gone.';
create index apps_team on apps (team_id, name);

create table environments (
    id uuid primary key,
    team_id uuid not null references teams,
    app_id uuid not null references apps,
    name text not null,
    created_at timestamptz not null,
    created_by text not null,
    -- What the next release is made from.
    spec jsonb not null,
    spec_generation bigint not null default 1 check (spec_generation > 0),
    staged boolean not null default false,
    -- What should run.
    generation bigint not null default 0 check (generation >= 0),
    desired text not null default 'running' check (desired in ('running', 'stopped', 'deleted')),
    release_id uuid,
    -- The network.
    subnet text constraint environments_subnet_key unique,
    last_release_number bigint not null default 0,
    constraint environments_name_key unique (app_id, name)
);
comment on table environments is 'The intent for each environment; the API writes it.';
comment on column environments.spec_generation is 'Behind the ETag of the spec.';
comment on column environments.staged is 'Whether env, secrets or spec changed since the last release was made.';
comment on column environments.generation is 'Grows with every change of what should run.';
comment on column environments.release_id is 'The release that should run; null before the first deploy.';
comment on column environments.subnet is 'Allocated on first deploy out of SLIPWAY_NETWORK_POOL.';

create table environment_status (
    environment_id uuid primary key references environments on delete cascade,
    observed_generation bigint not null default 0,
    epoch bigint not null default 0,
    -- The release that has all traffic, as last acknowledged by the proxies.
    serving_release_id uuid,
    instances jsonb not null default '[]',
    conditions jsonb not null default '[]',
    next_wake_at timestamptz,
    updated_at timestamptz not null default now()
);
comment on table environment_status is 'What the scheduler found and did; only the scheduler writes it, fenced by its lease.';

create table releases (
    id uuid primary key,
    team_id uuid not null references teams,
    environment_id uuid not null references environments on delete cascade,
    number bigint not null check (number > 0),
    image text not null,
    pin jsonb not null,
    spec jsonb not null,
    secrets jsonb not null,
    cause text not null,
    created_at timestamptz not null,
    created_by text not null,
    good boolean not null default false,
    constraint releases_number_key unique (environment_id, number)
);
comment on table releases is 'Immutable but for `good`, which is set once by the first success.';
comment on column releases.secrets is 'Secret name to secret id: the versions that go in.';

alter table environments
    add constraint environments_release_fk foreign key (release_id) references releases deferrable initially deferred;
create index environments_release on environments (release_id);

create table deployments (
    id uuid primary key,
    team_id uuid not null references teams,
    app_id uuid not null references apps,
    environment_id uuid not null references environments on delete cascade,
    release_id uuid not null references releases on delete cascade,
    generation bigint not null,
    state text not null check (state in
        ('pending', 'awaiting_approval', 'running', 'succeeded', 'failed', 'aborted', 'superseded')),
    strategy text not null,
    cause text not null,
    message text,
    reason jsonb,
    trace_context text,
    created_at timestamptz not null,
    created_by text not null,
    started_at timestamptz,
    finished_at timestamptz,
    check ((state in ('succeeded', 'failed', 'aborted', 'superseded')) = (finished_at is not null)),
    check (state <> 'failed' or reason is not null)
);
comment on table deployments is 'Bounded attempts to bring a release into service.';
create index deployments_environment on deployments (environment_id, id desc);
create index deployments_app on deployments (app_id, id desc);
-- Without it, removing an environment looks through all deployments once for each of its releases.
create index deployments_release on deployments (release_id);
-- One unfinished deployment per environment: accepting a new one supersedes the old in the same transaction.
create unique index deployments_unfinished on deployments (environment_id)
    where state in ('pending', 'awaiting_approval', 'running');

create table deployment_steps (
    deployment_id uuid not null references deployments on delete cascade,
    name text not null,
    state text not null check (state in ('running', 'succeeded', 'failed', 'skipped')),
    started_at timestamptz not null,
    finished_at timestamptz,
    detail text,
    primary key (deployment_id, name),
    check ((state = 'running') = (finished_at is null))
);
comment on table deployment_steps is 'pull, release_command, start, health, switch, drain, stop with their times.';

create table events (
    id bigint generated always as identity primary key,
    team_id uuid not null references teams,
    deployment_id uuid not null references deployments on delete cascade,
    type text not null,
    time timestamptz not null,
    step text,
    message text not null
);
comment on table events is 'What happened during a deployment, for people; the id resumes a stream.';
create index events_deployment on events (deployment_id, id);

create table secrets (
    id uuid primary key,
    team_id uuid not null references teams,
    environment_id uuid not null references environments on delete cascade,
    name text not null,
    version integer not null check (version > 0),
    sealed bytea not null,
    key_version integer not null,
    fingerprint text not null,
    created_at timestamptz not null,
    created_by text not null,
    deleted_at timestamptz,
    constraint secrets_version_key unique (environment_id, name, version)
);
comment on table secrets is 'Every version of every secret, sealed; a release pins versions.';

create table volumes (
    id uuid primary key,
    team_id uuid not null references teams,
    environment_id uuid not null references environments on delete cascade,
    name text not null,
    created_at timestamptz not null,
    constraint volumes_name_key unique (environment_id, name)
);
comment on table volumes is 'Named volumes are records: never made implicitly, never removed but with their environment.';

create table certificates (
    id uuid primary key,
    team_id uuid references teams,
    names text[] not null,
    issuer text not null,
    chain_pem text not null,
    sealed_key bytea not null,
    key_version integer not null,
    not_before timestamptz not null,
    not_after timestamptz not null,
    created_at timestamptz not null,
    replaced_at timestamptz
);
comment on table certificates is 'Certificates with their sealed keys; team is null for those of the platform itself.';
create index certificates_current on certificates (not_after) where replaced_at is null;

create table domains (
    host text primary key,
    team_id uuid not null references teams,
    environment_id uuid not null references environments on delete cascade,
    kind text not null check (kind in ('platform', 'custom')),
    created_at timestamptz not null
);
comment on table domains is 'Host names and whose they are; each environment has its name below the base domain.';
create index domains_environment on domains (environment_id);

create table route_version (
    only_row boolean primary key default true check (only_row),
    version bigint not null default 0,
    changed_at timestamptz not null default now()
);
comment on table route_version is 'Grows with every change of what proxies must know.';
insert into route_version default values;

create table routes (
    environment_id uuid primary key references environments on delete cascade,
    state text not null,
    groups jsonb not null,
    version bigint not null
);
comment on table routes is 'What proxies are told of each environment; only the scheduler writes it.';

create table proxies (
    id uuid primary key,
    applied_version bigint not null,
    draining text[] not null default '{}',
    connected boolean not null,
    seen_at timestamptz not null default now()
);
comment on table proxies is 'Each proxy and the version it has in force, in database time.';

create table leases (
    name text primary key,
    holder uuid not null,
    epoch bigint not null,
    expires_at timestamptz not null
);
comment on table leases is 'Who may act, fenced by an epoch that grows with each new holder; times are the database''s.';

create table jobs (
    id uuid primary key,
    kind text not null,
    dedupe_key text,
    payload jsonb not null,
    run_at timestamptz not null,
    attempt integer not null default 0,
    attempts_max integer not null,
    lease_until timestamptz,
    finished_at timestamptz,
    outcome text check (outcome in ('done', 'failed')),
    error text,
    created_at timestamptz not null,
    check ((finished_at is null) = (outcome is null))
);
comment on table jobs is 'Bounded work with identity and history; claimed with skip locked, fenced by the attempt.';
create index jobs_due on jobs (run_at) where finished_at is null;
create unique index jobs_dedupe on jobs (kind, dedupe_key) where finished_at is null;

create table idempotency_keys (
    token_id uuid not null references tokens,
    key text not null,
    request_hash bytea not null,
    created_at timestamptz not null,
    -- Null while the first request is under way.
    status integer,
    headers jsonb,
    body bytea,
    primary key (token_id, key)
);
comment on table idempotency_keys is 'First answers by key, kept 24 hours.';
create index idempotency_keys_age on idempotency_keys (created_at);

create table audit (
    seq bigint primary key,
    team_id uuid,
    time timestamptz not null,
    actor jsonb not null,
    action text not null,
    target jsonb not null,
    outcome text not null check (outcome in ('allowed', 'denied')),
    reason text,
    request_id text,
    trace_id text,
    change jsonb,
    prev_hash bytea not null check (length(prev_hash) = 32),
    hash bytea not null check (length(hash) = 32)
);
comment on table audit is 'Append-only chain: hash = SHA-256(0x00 || prev_hash || JCS(row)).';
create index audit_team on audit (team_id, seq desc);

create function refuse_audit_change() returns trigger language plpgsql as $$
begin
    raise exception 'audit rows are never changed or removed';
end $$;
create trigger audit_append_only before update or delete on audit
    for each row execute function refuse_audit_change();
create trigger audit_never_emptied before truncate on audit
    for each statement execute function refuse_audit_change();

-- Hints: the payload is constant, so that many of them in one transaction are one.
create function notify_environments() returns trigger language plpgsql as $$
begin
    perform pg_notify('slipway_environments', '');
    return null;
end $$;
create trigger environments_changed after insert or update on environments
    for each statement execute function notify_environments();

create function notify_routes() returns trigger language plpgsql as $$
begin
    perform pg_notify('slipway_routes', '');
    return null;
end $$;
create trigger routes_changed after update on route_version
    for each statement execute function notify_routes();

create function notify_events() returns trigger language plpgsql as $$
begin
    perform pg_notify('slipway_events', '');
    return null;
end $$;
create trigger events_appended after insert on events
    for each statement execute function notify_events();
