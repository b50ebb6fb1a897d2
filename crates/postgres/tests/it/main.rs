//! Against a real server of each test's own.

mod replication;
mod roles;

use slipway_domain::ports::{DatabaseRoles, DatabaseServers as _, ServerFacts, ServerLogin};
use slipway_domain::secret::Secret;
use slipway_postgres::Servers;
use slipway_testkit::cluster::{Cluster, PASSWORD};

fn login(cluster: &Cluster) -> ServerLogin {
    ServerLogin {
        address: cluster.address(),
        password: Secret::new(PASSWORD.into()),
    }
}

fn roles() -> DatabaseRoles {
    DatabaseRoles {
        name: "order-book".parse().expect("a name"),
        owner_password: Secret::new("owner-password".into()),
        reader_password: Secret::new("reader-password".into()),
        backup_password: Secret::new("backup-password".into()),
        connections: 20,
    }
}

async fn prepared(cluster: &Cluster) -> ServerFacts {
    Servers.prepare(&login(cluster), &roles()).await.expect("prepared")
}
