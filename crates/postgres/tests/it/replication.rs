//! Copies of whole servers and the stream of their logs.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};

use slipway_domain::backup::{Lsn, Segment, SegmentSize, Timeline};
use slipway_domain::ports::ServerLogin;
use slipway_domain::secret::Secret;
use slipway_postgres::{BaseBackup, BaseEvent, Replication, ReplicationError, SlotName, WalEvent};
use slipway_testkit::cluster::Cluster;

use crate::prepared;

async fn open(cluster: &Cluster) -> Replication {
    let login = ServerLogin {
        address: cluster.address(),
        password: Secret::new("backup-password".into()),
    };
    Replication::open(&login).await.expect("a line")
}

fn slot() -> SlotName {
    SlotName::new("slipway_backup").expect("a name")
}

fn size() -> SegmentSize {
    SegmentSize::of(1 << 20).expect("a size")
}

fn lsn(cluster: &Cluster) -> Lsn {
    cluster
        .sql("postgres", "select pg_current_wal_flush_lsn()")
        .parse()
        .expect("a place")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_comes_as_it_is_written_and_is_kept_until_it_is_confirmed() {
    let cluster = Cluster::start();
    prepared(&cluster).await;
    let mut line = open(&cluster).await;
    let server = line.identify().await.expect("an identity");
    assert_eq!(server.timeline, Timeline(1));
    assert_eq!(line.setting("wal_segment_size").await.as_deref(), Ok("1MB"));
    assert_eq!(line.slot(&slot()).await, Ok(None));
    line.create_slot(&slot()).await.expect("made");
    let kept = line
        .slot(&slot())
        .await
        .expect("read")
        .expect("there")
        .restart
        .expect("a place");
    let from = Segment::at(Timeline(1), kept, size()).start(size());

    let mut stream = line.stream(&slot(), from, Timeline(1)).await.expect("streams");
    cluster.sql("postgres", "create table rows as select generate_series(1, 20000) as n");
    let end = lsn(&cluster);
    let mut received = Vec::new();
    while from.plus(received.len() as u64) < end {
        match stream.next().await.expect("an event") {
            WalEvent::Wal { at, data, .. } => {
                assert_eq!(at, from.plus(received.len() as u64), "nothing is missing");
                received.extend_from_slice(&data);
            }
            WalEvent::Alive { .. } => {}
            WalEvent::Switched { .. } => panic!("no other history"),
        }
    }
    // Each file of a log begins with the server's mark and its own place (`XLogLongPageHeaderData`).
    let place = u64::from_le_bytes(received[8..16].try_into().expect("eight bytes"));
    assert_eq!(Lsn(place), from);
    let restart = || cluster.sql("postgres", "select restart_lsn from pg_replication_slots");
    assert_eq!(restart(), kept.to_string(), "nothing was confirmed");
    let confirmed = end;
    stream
        .confirm((confirmed, confirmed), true, chrono::Utc::now())
        .await
        .expect("confirmed");
    while !matches!(
        stream.next().await.expect("an event"),
        WalEvent::Alive { asks: false, .. }
    ) {}
    assert_eq!(restart(), confirmed.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_no_more_is_told_apart_from_a_server_that_is_away() {
    let cluster = Cluster::start();
    prepared(&cluster).await;
    let from = lsn(&cluster);
    let unknown = open(&cluster)
        .await
        .stream(&slot(), from, Timeline(1))
        .await
        .expect_err("no slot");
    assert!(unknown.is_gone(), "{unknown}");
    open(&cluster).await.create_slot(&slot()).await.expect("made");
    let other = open(&cluster)
        .await
        .drop_slot(&SlotName::new("other").expect("a name"))
        .await;
    assert!(other.expect_err("none").is_gone());
    open(&cluster).await.drop_slot(&slot()).await.expect("removed");
    let login = ServerLogin {
        address: cluster.address(),
        password: Secret::new("another password".into()),
    };
    drop(cluster);
    let away = Replication::open(&login).await.expect_err("no server");
    assert!(matches!(away, ReplicationError::Away(_)), "{away:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_refused() {
    let cluster = Cluster::start();
    prepared(&cluster).await;
    let login = ServerLogin {
        address: cluster.address(),
        password: Secret::new("another password".into()),
    };
    match Replication::open(&login).await {
        Err(ReplicationError::Refused { code, .. }) => assert_eq!(code, "28P01"),
        other => panic!("{other:?}"),
    }
}

async fn copied(mut base: BaseBackup) -> Result<(Vec<String>, usize, Vec<u8>), ReplicationError> {
    let (mut archives, mut bytes, mut manifest) = (Vec::new(), 0, Vec::new());
    loop {
        match base.next().await? {
            BaseEvent::Archive(name) => archives.push(name),
            BaseEvent::Data(piece) => bytes += piece.len(),
            BaseEvent::ManifestData(piece) => manifest.extend_from_slice(&piece),
            BaseEvent::Read(_) | BaseEvent::Manifest => {}
            BaseEvent::End(end) => {
                assert!(end.at > base.start().at);
                return Ok((archives, bytes, manifest));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_one_compressed_archive_and_a_manifest_of_every_file() {
    let cluster = Cluster::start();
    prepared(&cluster).await;
    let base = open(&cluster).await.base_backup("it's a label").await.expect("begun");
    let start = base.start();
    assert!(start.bytes > 10 << 20, "{start:?}");
    let (archives, bytes, manifest) = copied(base).await.expect("a copy");
    assert_eq!(archives, ["base.tar.zst"]);
    assert!(bytes > 1 << 20, "{bytes}");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    let files = manifest["Files"].as_array().expect("files");
    assert!(files.len() > 500, "{}", files.len());
    assert!(
        files
            .iter()
            .all(|file| file["Size"] == 0 || file["Checksum-Algorithm"] == "SHA256")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_whose_checksum_is_wrong_fails_the_copy() {
    let cluster = Cluster::start();
    prepared(&cluster).await;
    cluster.sql("postgres", "create table rows as select generate_series(1, 20000) as n");
    cluster.sql("postgres", "checkpoint");
    let path = cluster
        .data()
        .join(cluster.sql("postgres", "select pg_relation_filepath('rows')"));
    let mut file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .expect("a file");
    let mut byte = [0];
    file.seek(SeekFrom::Start(8192 * 3 + 4000)).expect("a place");
    file.read_exact(&mut byte).expect("a byte");
    file.seek(SeekFrom::Current(-1)).expect("back");
    file.write_all(&[byte[0] ^ 1]).expect("written");
    file.sync_all().expect("on the disk");
    let base = open(&cluster).await.base_backup("label").await.expect("begun");
    match copied(base).await {
        Err(ReplicationError::Refused { code, message }) => {
            assert_eq!(code, "XX001", "{message}");
        }
        other => panic!("{other:?}"),
    }
}
