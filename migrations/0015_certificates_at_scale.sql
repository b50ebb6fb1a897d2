-- What is due is found by the database: who keeps thousands of certificates does not read them all at each change.

alter table custom_domains add column may_order boolean not null default false;
comment on column custom_domains.may_order is 'Whether the last look found nothing that keeps a certificate from being ordered.';
update custom_domains set may_order = coalesce((inspection ->> 'points_here')::boolean, false)
    and not jsonb_path_exists(inspection, '$.findings[*] ? (@.level == "error")');

-- A look that changes nothing but its time is no news.
drop trigger custom_domains_changed on custom_domains;
create trigger custom_domains_changed after insert or delete on custom_domains
    for each statement execute function notify_domains();
create trigger custom_domains_moved after update on custom_domains for each row
    when (new.look_at < old.look_at or old.proven_at is distinct from new.proven_at or old.may_order <> new.may_order)
    execute function notify_domains();

-- Of these names one certificate is in use; which certificates cover a name is asked for each domain that is shown.
drop index certificates_names;
create index certificates_names on certificates using gin (names) where replaced_at is null;
create index certificates_renew_at on certificates (renew_at) where replaced_at is null;
create index certificates_ari_at on certificates (ari_at) where replaced_at is null and ari_at is not null;
update certificates set renew_at = not_after - (not_after - not_before) / 3 where renew_at is null;
alter table certificates alter column renew_at set not null;

create table dns_zones (
    id uuid primary key,
    zone text not null,
    team_id uuid references teams on delete cascade,
    provider text not null,
    sealed_settings bytea not null,
    key_version integer not null,
    settings text[] not null,
    for_delegation boolean not null default false,
    error text,
    updated_at timestamptz not null,
    updated_by text not null,
    constraint dns_zones_zone_key unique nulls not distinct (team_id, zone),
    check (not for_delegation or team_id is null)
);
comment on table dns_zones is 'Zones that records can be made in, a team''s or (without one) the platform''s; what the provider wants to know sealed.';
comment on column dns_zones.error is 'What the last change came to, where that was nothing good.';
create unique index dns_zones_for_delegation on dns_zones (for_delegation) where for_delegation;

create table acme_records (
    zone_id uuid not null references dns_zones on delete cascade,
    name text not null,
    value text not null,
    created_at timestamptz not null,
    primary key (zone_id, name, value)
);
comment on table acme_records is 'TXT records that were made for an order, or were about to be: they are taken back when it is over.';

create trigger dns_zones_changed after insert or delete or update of sealed_settings on dns_zones
    for each statement execute function notify_domains();

alter table custom_domains
    add column hsts_max_age_seconds integer check (hsts_max_age_seconds > 0),
    add column hsts_since timestamptz,
    add column hsts_include_subdomains boolean not null default false,
    add column hsts_preload boolean not null default false,
    add column hsts_remembered_until timestamptz;
comment on column custom_domains.hsts_max_age_seconds is 'How long browsers are told to remember to come by HTTPS only; null while it is off.';
comment on column custom_domains.hsts_remembered_until is 'Until when a browser may remember what it was told before that.';
create index custom_domains_hsts on custom_domains (hsts_since) where hsts_max_age_seconds is not null;

alter table certificates add column failures integer not null default 0;
comment on column certificates.failures is 'Attempts that failed before it was got.';

alter table certificates
    add column uploaded boolean not null default false,
    add column revocation_reason smallint,
    add column revoke_at timestamptz,
    add column revoked_at timestamptz;
comment on column certificates.uploaded is 'Somebody brought it along; it is not renewed, and replaced by an ordered one when it has ended.';
comment on column certificates.revoke_at is 'When its CA is to be told that it holds no more; null where nobody asked for that.';
create index certificates_revoke_at on certificates (revoke_at) where revoke_at is not null and revoked_at is null;

alter table custom_domains add column client_ca_pem text;
comment on column custom_domains.client_ca_pem is 'Visitors must show a certificate that one of these vouches for; null where anybody may come.';

create table acme_trials (
    domain_id uuid primary key references custom_domains on delete cascade,
    ca text not null,
    asked_at timestamptz not null,
    ended_at timestamptz,
    error jsonb
);
comment on table acme_trials is 'Orders at the staging directory of a CA, to see whether one would succeed: nothing comes of them and no budget is spent.';
create trigger acme_trials_changed after insert or update of asked_at on acme_trials
    for each statement execute function notify_domains();
create trigger certificates_moved after update on certificates for each row
    when (old.renew_at > new.renew_at or old.revoke_at is distinct from new.revoke_at)
    execute function notify_domains();

alter table acme_accounts add column roll_at timestamptz;
update acme_accounts set roll_at = created_at + interval '365 days';
alter table acme_accounts alter column roll_at set not null;
comment on column acme_accounts.roll_at is 'When its key is to be replaced by a new one (RFC 8555 section 7.3.5).';
create trigger acme_accounts_changed after update of roll_at on acme_accounts
    for each statement execute function notify_domains();
