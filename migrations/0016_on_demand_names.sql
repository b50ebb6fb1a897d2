alter table custom_domains add column on_demand boolean not null default false;
comment on column custom_domains.on_demand is 'A visitor brought the name along and the app said that it serves it; it goes again by itself once it leads elsewhere.';
create index custom_domains_on_demand on custom_domains (environment_id, created_at) where on_demand;
