//! The nightly dump, made by the real program of a real database, and read back.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use rustix::process::Signal;
use slipway_domain::clock::testing::at;
use slipway_server::dump::Dump;
use slipway_server::postgres::Programs;

use crate::place::{Place, end, host_program, sql, start};

#[tokio::test]
async fn a_dump_holds_the_database_and_the_key_and_can_be_restored() {
    let place = Place::new();
    let cluster = place.cluster();
    let server = start(&cluster).await;
    sql(&cluster.url(), "create table kept (n int); insert into kept values (7)").expect("the database is there");
    let key = place.path().join("master.key");
    std::fs::write(&key, "v1 the key\n").expect("written");
    let dump = Dump {
        database_url: cluster.url(),
        programs: cluster.programs().clone(),
        master_key_file: key,
        dir: place.data_dir().join("dumps"),
    };

    assert!(dump.is_due(at(0)));
    let path = dump.run(at(0)).await.expect("dumped");
    assert!(!dump.is_due(at(1_000)));
    let mut names: Vec<String> = std::fs::read_dir(&dump.dir)
        .expect("there")
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["slipway-19700101T000000Z.dump", "slipway-19700101T000000Z.key"]);
    for name in names {
        let mode = std::fs::metadata(dump.dir.join(name))
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert_eq!(
        std::fs::read_to_string(path.with_extension("key")).expect("there"),
        "v1 the key\n"
    );

    sql(&cluster.url(), "drop table kept").expect("dropped");
    let status = Command::new(host_program("pg_restore"))
        .arg(format!("--dbname={}", cluster.url()))
        .arg(&path)
        .status();
    assert!(status.expect("pg_restore runs").success());
    assert_eq!(sql(&cluster.url(), "select n from kept"), Ok("7".to_owned()));
    end(server, Signal::INT);
}

#[tokio::test]
async fn a_dump_that_fails_leaves_nothing_behind_and_keeps_the_old_ones() {
    let place = Place::new();
    let dir = place.data_dir().join("dumps");
    std::fs::create_dir_all(&dir).expect("made");
    let old = dir.join("slipway-19700101T000000Z.dump");
    std::fs::write(&old, "the only one").expect("written");
    let dump = Dump {
        database_url: "postgres://nobody@localhost/slipway?host=%2Fnowhere".into(),
        programs: Programs::on_path(),
        master_key_file: place.path().join("master.key"),
        dir,
    };
    let error = dump
        .run(at(40 * 86_400_000))
        .await
        .expect_err("there is no server")
        .to_string();
    assert!(error.contains("pg_dump"), "{error}");
    assert_eq!(std::fs::read_dir(&dump.dir).expect("there").count(), 1);
    assert!(old.exists());
}
