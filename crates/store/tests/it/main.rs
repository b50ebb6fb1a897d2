//! The store against a real Postgres server: one new database for each test.

mod accepts;
mod alerts;
mod audit;
mod db;
mod fixture;
mod hints;
mod idempotency;
mod jobs;
mod leases;
mod life;
mod lists;
mod names;
mod outages;
mod routes;
mod rows;
mod runs;
mod schema;
mod secrets;
mod tokens;
