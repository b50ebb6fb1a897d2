alter table custom_domains add column on_demand boolean not null default false;
comment on column custom_domains.on_demand is 'A visitor brought the name along and the app said that it serves it; it goes again by itself once it leads elsewhere.';
create index custom_domains_on_demand on custom_domains (environment_id, created_at) where on_demand;

-- The platform's own certificates belong to no team.
alter table alerts alter column team_id drop not null;
comment on column alerts.team_id is 'Whose it is; null where it is the platform''s own.';
create unique index alerts_open_of_platform on alerts (kind) where team_id is null and ended_at is null;
