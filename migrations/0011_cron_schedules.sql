-- The times of a command by the clock count from when it was given its schedule. Expands only.
alter table cron_marks add column schedule text;
comment on column cron_marks.schedule is 'The schedule and its time zone; with another one, what was before does not count.';
