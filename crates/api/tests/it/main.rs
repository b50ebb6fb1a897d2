//! The API against a real Postgres: HTTP in, HTTP out, every answer checked against the OpenAPI document.

mod access;
mod alerts;
mod apps;
mod bad_input;
mod client;
mod databases;
mod db;
mod deploys;
mod document;
mod domains;
mod edges;
mod events;
mod limits;
mod looks;
mod operations;
mod ports;
mod releases;
mod repeats;
mod secrets;
mod settings;
mod world;
