alter table custom_domains add column on_demand boolean not null default false;
comment on column custom_domains.on_demand is 'A visitor brought the name along and the app said that it serves it; it goes again by itself once it leads elsewhere.';
create index custom_domains_on_demand on custom_domains (environment_id, created_at) where on_demand;

-- The platform's own certificates belong to no team.
alter table alerts alter column team_id drop not null;
comment on column alerts.team_id is 'Whose it is; null where it is the platform''s own.';
create unique index alerts_open_of_platform on alerts (kind) where team_id is null and ended_at is null;

create function renewal_is_late(not_before timestamptz, not_after timestamptz, present timestamptz) returns boolean
    language sql immutable as $$
    select not_after - present <= least(interval '21 days', (not_after - not_before) / 4)
$$;
comment on function renewal_is_late is 'Whether somebody is to be told that a certificate is about to end.';

create trigger issuances_hastened after update on issuances for each row
    when (new.next_try_at < old.next_try_at and new.updated_at = old.updated_at)
    execute function notify_domains();
