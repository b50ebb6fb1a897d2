-- Environments that go away by themselves. Expands only.
alter table environments
    add column expires_after_ms bigint check (expires_after_ms > 0),
    add column expires_at timestamptz,
    add constraint environments_expiry_check check ((expires_after_ms is null) = (expires_at is null));
comment on column environments.expires_at is 'When it is deleted unless something is deployed to it before; null: never.';
create index environments_expire on environments (expires_at) where expires_at is not null;
