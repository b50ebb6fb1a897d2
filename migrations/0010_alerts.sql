-- What somebody is told of. Expands only.
create table alerts (
    id uuid primary key,
    team_id uuid not null references teams,
    environment_id uuid references environments on delete set null,
    app_name text not null,
    environment_name text not null,
    kind text not null,
    release_id uuid not null,
    message text not null,
    started_at timestamptz not null,
    ended_at timestamptz,
    started_told boolean not null default false,
    ended_told boolean not null default false,
    tries integer not null default 0,
    next_try_at timestamptz not null
);
comment on table alerts is 'What somebody is told of: a row outlives its environment, so that the end is told too.';
create unique index alerts_open on alerts (environment_id, kind) where ended_at is null;
create index alerts_team on alerts (team_id, id);
create index alerts_untold on alerts (next_try_at) where not ended_told;
