-- When to look again is no memory of the database: a scheduler that takes over looks at everything at once.
alter table environment_status drop column next_wake_at;
