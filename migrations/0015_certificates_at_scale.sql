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
