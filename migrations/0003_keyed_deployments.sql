-- What a keyed request has begun, so that its key leads there even when the program that was to answer has ended.
alter table idempotency_keys add column deployment_id uuid references deployments on delete cascade;
create index idempotency_keys_deployment on idempotency_keys (deployment_id);
comment on column idempotency_keys.deployment_id is 'The deployment that the request made, if it made one.';
