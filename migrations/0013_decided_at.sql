-- When what should run was last changed by somebody, so that a database put back to an older point can be told from a
-- decision that came after. Expands only.
alter table environments add column decided_at timestamptz not null default now();
comment on column environments.decided_at is 'When what should run last changed, as the control plane''s clock has it.';
