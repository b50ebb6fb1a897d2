//! The whole platform, as its users meet it: the real binary, a real engine, a real registry, real TLS.

mod chaos;
mod concurrency;
mod contained;
mod deploy;
mod failures;
mod gates;
mod life;
mod packaging;
mod platform;
mod previews;
mod readme;
mod runs;
mod scaling;
mod strategies;
mod trace;
mod traffic;
