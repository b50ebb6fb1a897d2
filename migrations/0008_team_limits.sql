-- What a team may use in all. Expands only.
alter table teams
    add column instances_max integer check (instances_max >= 0),
    add column memory_bytes_max bigint check (memory_bytes_max >= 0),
    add column cpu_milli_max integer check (cpu_milli_max >= 0);
comment on column teams.instances_max is 'Of all its environments that should run, at their most; null: not limited.';
