//! The whole platform, as its users meet it: the real binary, a real engine, a real registry, real TLS.

mod alerts;
mod apart;
mod chaos;
mod concurrency;
mod contained;
mod deploy;
mod engine_faults;
mod failures;
mod gates;
mod life;
mod outages;
mod own_registry;
mod packaging;
mod platform;
mod previews;
mod private_engine;
mod readme;
mod receiver;
mod restored;
mod runs;
mod scaling;
mod scripts;
mod strategies;
mod trace;
mod traffic;
