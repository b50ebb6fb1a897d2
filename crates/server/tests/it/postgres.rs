//! The private Postgres: made once, found again, and whole after every way of being cut off.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use rustix::process::Signal;
use slipway_server::postgres::{Cluster, PostgresError};

use crate::place::{Place, binaries, end, is_root, server_pid, sql, start};

#[tokio::test]
async fn a_first_start_makes_the_cluster_and_a_second_finds_its_data() {
    let place = Place::new();
    let cluster = place.cluster();
    let server = start(&cluster).await;
    sql(&cluster.url(), "create table kept (n int); insert into kept values (7)").expect("the database is there");
    end(server, Signal::INT);

    let cluster = place.cluster();
    let server = start(&cluster).await;
    assert_eq!(sql(&cluster.url(), "select n from kept"), Ok("7".to_owned()));
    end(server, Signal::INT);
}

#[tokio::test]
async fn it_is_reached_over_a_private_socket_only_and_its_settings_are_ours() {
    let place = Place::new();
    let cluster = place.cluster();
    let server = start(&cluster).await;
    let url = cluster.url();
    let shown = |name: &str| sql(&url, &format!("show {name}")).expect("a setting can be shown");

    assert_eq!(shown("listen_addresses"), "");
    assert_eq!(shown("unix_socket_permissions"), "0700");
    assert_eq!(shown("fsync"), "on");
    assert_eq!(shown("data_checksums"), "on");
    assert_eq!(shown("server_encoding"), "UTF8");
    let run = std::fs::metadata(shown("unix_socket_directories")).expect("the socket's directory is there");
    assert_eq!(run.permissions().mode() & 0o777, 0o700);
    if is_root() {
        let data = std::fs::metadata(place.cluster_dir().join("data")).expect("the data is there");
        assert_ne!(data.uid(), 0, "the data belongs to an unprivileged user");
        let pid = server_pid(&place.cluster_dir().join("data"))
            .expect("the server runs")
            .as_raw_nonzero();
        let process = std::fs::metadata(format!("/proc/{pid}")).expect("the server runs");
        assert_eq!(process.uid(), data.uid(), "the server runs as that user");
    }
    end(server, Signal::INT);
}

#[tokio::test]
async fn what_was_committed_before_the_server_was_killed_is_there_afterwards() {
    let place = Place::new();
    let cluster = place.cluster();
    let server = start(&cluster).await;
    sql(&cluster.url(), "create table kept (n int); insert into kept values (7)").expect("the database is there");
    end(server, Signal::KILL);

    let cluster = place.cluster();
    let server = start(&cluster).await;
    assert_eq!(
        sql(&cluster.url(), "select n from kept"),
        Ok("7".to_owned()),
        "ready means that it takes connections"
    );
    end(server, Signal::INT);
}

#[tokio::test]
async fn a_server_left_by_a_killed_parent_is_stopped_before_the_next_start() {
    let place = Place::new();
    let cluster = place.cluster();
    let mut left = start(&cluster).await;
    // Somebody must take note of its end, as the system's first process does for an orphan.
    let waiter = std::thread::spawn(move || left.wait());

    let cluster = place.cluster();
    let status = waiter
        .join()
        .expect("waiting does not panic")
        .expect("a child can be waited for");
    assert!(status.success(), "it was asked, not killed: {status}");

    let server = start(&cluster).await;
    assert_eq!(sql(&cluster.url(), "select 1"), Ok("1".to_owned()));
    end(server, Signal::INT);
}

#[test]
fn a_cluster_of_another_major_version_is_refused_and_left_as_it_is() {
    let place = Place::new();
    drop(place.cluster());
    let data = place.cluster_dir().join("data");
    std::fs::write(data.join("PG_VERSION"), "14\n").expect("the file can be written");
    std::fs::write(data.join("slipway.conf"), "# untouched\n").expect("the file can be written");

    let error = Cluster::prepare(&binaries(), &place.cluster_dir(), is_root()).expect_err("14 is not here");
    assert!(
        matches!(&error, PostgresError::OtherMajor { found, .. } if found == "14"),
        "{error:?}"
    );
    let text = error.to_string();
    assert!(
        text.contains("install PostgreSQL 14") && text.contains("pg_upgrade"),
        "says what to do: {text}"
    );
    assert_eq!(
        std::fs::read_to_string(data.join("PG_VERSION")).expect("still there"),
        "14\n"
    );
    assert_eq!(
        std::fs::read_to_string(data.join("slipway.conf")).expect("still there"),
        "# untouched\n"
    );
}

#[test]
fn without_any_version_the_error_says_what_to_install() {
    let place = Place::new();
    let error = Cluster::prepare(&[], &place.cluster_dir(), is_root()).expect_err("there are no programs");
    let text = error.to_string();
    assert!(
        text.contains("apt-get install postgresql") && text.contains("SLIPWAY_DATABASE_URL"),
        "{text}"
    );
}

#[test]
fn the_newest_version_comes_first_and_none_is_too_old() {
    let majors: Vec<u32> = binaries().iter().map(|b| b.major).collect();
    assert!(majors.is_sorted_by(|a, b| a > b), "{majors:?}");
    assert!(majors.iter().all(|m| *m >= 15), "{majors:?}");
}

#[tokio::test]
async fn a_first_start_that_was_cut_off_is_made_anew() {
    let place = Place::new();
    let half = place.cluster_dir().join("data.new");
    std::fs::create_dir_all(half.join("base")).expect("the directory can be made");
    std::fs::write(half.join("PG_VERSION"), "15\n").expect("the file can be written");

    let cluster = place.cluster();
    assert!(!half.exists(), "nothing half made is left");
    let server = start(&cluster).await;
    assert_eq!(sql(&cluster.url(), "select 1"), Ok("1".to_owned()));
    end(server, Signal::INT);
}

#[tokio::test]
async fn a_directory_too_deep_for_a_socket_gets_one_elsewhere() {
    let place = Place::new();
    let deep = place.cluster_dir().join("d".repeat(60)).join("e".repeat(60));
    std::fs::create_dir_all(&deep).expect("the directory can be made");
    for dir in [place.cluster_dir(), place.cluster_dir().join("d".repeat(60))] {
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o711)).expect("the owner may do so");
    }
    let cluster = Cluster::prepare(&binaries(), &deep, is_root()).expect("the cluster can be made");
    let server = start(&cluster).await;
    let socket = sql(&cluster.url(), "show unix_socket_directories").map(PathBuf::from);
    end(server, Signal::INT);

    let socket = socket.expect("the server can be reached");
    let base = if is_root() {
        PathBuf::from("/run")
    } else {
        std::env::temp_dir()
    };
    assert!(socket.starts_with(base), "{}", socket.display());
    let mode = std::fs::metadata(&socket)
        .expect("the directory is there")
        .permissions()
        .mode();
    std::fs::remove_dir_all(&socket).expect("the test's own directory can be removed");
    assert_eq!(mode & 0o777, 0o700);
}
