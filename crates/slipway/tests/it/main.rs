//! The whole platform, as its users meet it: the real binary, a real engine, a real registry, real TLS.

mod deploy;
mod failures;
mod life;
mod platform;
mod traffic;
