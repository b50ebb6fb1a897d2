//! The client commands from the outside: command line in, exit code and both streams out, against a real HTTP server
//! in the test that speaks the contract.

mod api;
mod world;

mod deploys;
mod follows;
mod instances;
mod logs;
mod manifests;
mod objects;
mod patience;
mod refusals;
mod sessions;
mod settings;
mod tls;
