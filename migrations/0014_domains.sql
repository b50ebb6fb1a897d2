-- Names that people bring along: who asked for them, what DNS says of them, whose they are.

create table custom_domains (
    id uuid primary key,
    host text not null,
    team_id uuid not null references teams,
    environment_id uuid not null references environments on delete cascade,
    token text not null,
    redirect_to text,
    created_at timestamptz not null,
    created_by text not null,
    proof text check (proof in ('local', 'txt', 'routed')),
    proven_at timestamptz,
    inspection jsonb,
    looked_at timestamptz,
    look_at timestamptz not null,
    look_failures integer not null default 0,
    constraint custom_domains_team_host_key unique (team_id, host)
);
comment on table custom_domains is
    'Asked for by a team; several teams may ask for one name, the first to prove it has a row in domains.';
create index custom_domains_environment on custom_domains (environment_id);
create index custom_domains_host on custom_domains (host);
create index custom_domains_look_at on custom_domains (look_at);

create table released_domains (
    host text primary key,
    team_id uuid not null,
    released_at timestamptz not null
);
comment on table released_domains is
    'Names that were a team''s: no other team gets them for a while, nor ever because old records still point here.';

create function note_released_domain() returns trigger language plpgsql as $$
begin
    insert into released_domains (host, team_id, released_at) values (old.host, old.team_id, now())
    on conflict (host) do update set team_id = excluded.team_id, released_at = excluded.released_at;
    return null;
end $$;
-- However it goes: by itself, or with its environment.
create trigger domains_released after delete on domains
    for each row when (old.kind = 'custom') execute function note_released_domain();

create table issuances (
    names text[] primary key,
    failures integer not null default 0,
    next_try_at timestamptz,
    error jsonb,
    updated_at timestamptz not null
);
comment on table issuances is 'How the attempts to get a certificate for these names go.';

create function notify_domains() returns trigger language plpgsql as $$
begin
    perform pg_notify('slipway_domains', '');
    return null;
end $$;
create trigger custom_domains_changed after insert or delete or update of look_at, proven_at on custom_domains
    for each statement execute function notify_domains();

alter table issuances
    add column ca text,
    add column order_url text,
    add column sealed_key bytea,
    add column key_version integer;
comment on column issuances.order_url is 'An order that is under way: it is gone on with, not made anew.';

create table acme_accounts (
    ca text primary key,
    account_url text not null,
    sealed_credentials bytea not null,
    key_version integer not null,
    created_at timestamptz not null
);
comment on table acme_accounts is 'One account at each CA, by its directory; the key sealed.';

create table acme_challenges (
    host text not null,
    kind text not null check (kind in ('http-01', 'tls-alpn-01')),
    token text not null,
    answer text not null,
    created_at timestamptz not null,
    primary key (host, token)
);
comment on table acme_challenges is
    'What proxies answer to a CA: the key authorization, or the certificate and key of a TLS-ALPN-01 answer. Of orders under way only.';

create table acme_ledger (
    id bigint generated always as identity primary key,
    ca text not null,
    kind text not null check (kind in ('order', 'certificate', 'duplicate', 'failure')),
    subject text not null,
    at timestamptz not null
);
comment on table acme_ledger is 'What was asked of each CA, to stay below its limits.';
create index acme_ledger_subject on acme_ledger (ca, kind, subject, at);

alter table certificates
    add column ca text,
    add column renew_at timestamptz,
    add column ari_at timestamptz,
    add column route_version bigint not null default 0;
comment on column certificates.ca is 'The directory of the CA; null for the internal one.';
comment on column certificates.renew_at is 'When it is to be replaced: out of the window that the CA suggests, or with a third of its life left.';
comment on column certificates.route_version is 'Since which version proxies have it.';
comment on column certificates.ari_at is 'When the CA is to be asked for that window again; null where it has none.';
create index certificates_names on certificates using hash (names);

create trigger domains_changed after insert or delete on domains
    for each statement execute function notify_domains();

-- Not every alert is about a release.
alter table alerts alter column release_id drop not null;
