//! Who may do what in a managed database.

use slipway_testkit::cluster::Cluster;

use crate::prepared;

/// Whether a role may connect to a database; `public` is everybody.
fn connects(cluster: &Cluster, role: &str, database: &str) -> bool {
    let question = format!("select has_database_privilege('{role}', '{database}', 'connect')");
    cluster.sql("postgres", &question) == "t"
}

fn assert_rights(cluster: &Cluster) {
    assert!(connects(cluster, "order_book", "order_book"));
    assert!(connects(cluster, "order_book_reader", "order_book"));
    for database in ["order_book", "postgres", "template1"] {
        assert!(!connects(cluster, "public", database), "{database}");
    }
    assert!(!connects(cluster, "slipway_backup", "order_book"));
    let replicates = "select string_agg(rolname, ' ' order by rolname) from pg_roles where rolreplication";
    assert_eq!(cluster.sql("postgres", replicates), "postgres slipway_backup");
    let read_only = "select rolconfig[1] from pg_roles where rolname = 'order_book_reader'";
    assert_eq!(cluster.sql("postgres", read_only), "default_transaction_read_only=on");
    let owner = "select nspowner::regrole from pg_namespace where nspname = 'public'";
    assert_eq!(cluster.sql("order_book", owner), "order_book");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_belongs_to_its_owner_is_read_by_its_reader_and_closed_to_everybody_else() {
    let cluster = Cluster::start();
    let facts = prepared(&cluster).await;
    assert!(facts.size_bytes > 1 << 20, "{facts:?}");
    assert_rights(&cluster);
    assert_eq!(prepared(&cluster).await.version, facts.version);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_off_half_way_is_made_whole() {
    let cluster = Cluster::start();
    for statement in [
        "create role order_book login connection limit 20",
        "create role order_book_reader login",
        "create role slipway_backup login replication",
        "create database order_book owner order_book",
    ] {
        cluster.sql("postgres", statement);
    }
    assert!(connects(&cluster, "public", "order_book"));
    prepared(&cluster).await;
    assert_rights(&cluster);
}
