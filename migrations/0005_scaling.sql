-- How many instances run now, and whether an idle app rests. Expands only.
alter table environment_status
    add column replicas integer check (replicas > 0),
    add column scaled_at timestamptz,
    add column rest text not null default 'awake' check (rest in ('awake', 'dozing', 'paused', 'asleep')),
    add column rest_since timestamptz;
comment on column environment_status.replicas is 'How many instances are wanted now, where the number follows the requests; null: as the spec says.';
comment on column environment_status.rest is 'dozing: proxies hold requests, nothing is stopped yet; paused: its instances are frozen; asleep: they are stopped, or are being stopped.';

create table wakes (
    environment_id uuid primary key references environments on delete cascade,
    asked_at timestamptz not null
);
comment on table wakes is 'When a proxy last said that a request waits for an environment that rests.';
create trigger wakes_changed after insert or update on wakes
    for each statement execute function notify_environments();
