-- How releases come into service in other ways than rolling, and how one is taken back. Expands only.
alter table releases add column same_as uuid references releases;
create index releases_same_as on releases (same_as) where same_as is not null;
comment on column releases.same_as is 'Of a rollback: the first release of the same contents, whose instances count as its own.';

alter table environment_status
    add column serving_since timestamptz,
    add column previous_release_id uuid;
comment on column environment_status.serving_since is 'When the release that serves got all traffic: its bake time begins.';
comment on column environment_status.previous_release_id is 'The release that had the traffic before, to go back to within the bake time.';

alter table routes add column split jsonb;
comment on column routes.split is 'How a canary shares the traffic; null when it is shared evenly.';

alter table deployments
    add column canary_step integer check (canary_step >= 0),
    add column canary_since timestamptz,
    add column promoted boolean not null default false,
    add constraint deployments_canary_check check ((canary_step is null) = (canary_since is null));
comment on column deployments.canary_step is 'The step of the canary that has the traffic it wants, from 0.';
comment on column deployments.promoted is 'Whether somebody ended the canary early.';
