//! The data plane against real sockets: TLS clients on one side, HTTP servers on the other, and a control plane that
//! speaks the real protocol on a Unix socket.

mod apps;
mod bodies;
mod client;
mod control;
mod deploys;
mod failures;
mod framing;
mod headers;
mod names;
mod on_demand;
mod operators;
mod outages;
mod streams;
mod world;
