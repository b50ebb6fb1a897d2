-- Why a CA does not take a certificate back.

alter table certificates add column revocation_error jsonb;
comment on column certificates.revocation_error is 'What the CA said last when it was told that the certificate holds no more.';
