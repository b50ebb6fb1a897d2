-- One-off commands, asked for or by the clock. Expands only.
create table runs (
    id uuid primary key,
    team_id uuid not null references teams,
    environment_id uuid not null references environments on delete cascade,
    release_id uuid not null references releases on delete cascade,
    cron text,
    scheduled_for timestamptz,
    command jsonb not null,
    timeout_ms bigint not null check (timeout_ms > 0),
    state text not null check (state in
        ('pending', 'starting', 'running', 'succeeded', 'failed', 'cancelled', 'skipped', 'lost')),
    cancel_requested boolean not null default false,
    exit_code bigint,
    oom_killed boolean not null default false,
    reason text,
    output jsonb not null default '[]',
    created_at timestamptz not null,
    created_by text not null,
    started_at timestamptz,
    finished_at timestamptz,
    -- Whether its container is gone.
    removed boolean not null default false,
    check ((cron is null) = (scheduled_for is null)),
    check ((finished_at is null) = (state in ('pending', 'starting', 'running')))
);
comment on table runs is 'A command is begun at most once: it is starting before the engine is told.';
create unique index runs_by_the_clock on runs (environment_id, cron, scheduled_for) where cron is not null;
create index runs_open on runs (id) where not removed;
create index runs_of_environment on runs (environment_id, id);
create index runs_of_release on runs (release_id);

create table cron_marks (
    environment_id uuid not null references environments on delete cascade,
    name text not null,
    last_at timestamptz not null,
    primary key (environment_id, name)
);
comment on table cron_marks is 'Up to when the times of a command by the clock are dealt with; only the scheduler writes it.';

create trigger runs_changed after insert or update of cancel_requested on runs
    for each statement execute function notify_environments();
