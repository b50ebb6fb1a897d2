//! Backups of managed databases, with a real server; and what is stored, opened with the tools of any distribution.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use slipway_testkit::cluster::{as_postgres, give_to_postgres, programs};

use crate::databases::{made, platform, psql_beside, psql_inside, told};
use crate::domains::with_app;
use crate::platform::{Platform, docker, signal, until};

/// What a pipe of programs makes of some bytes.
fn piped(command: &mut Command, input: Vec<u8>) -> Vec<u8> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("its input");
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("its output");
    assert!(output.status.success(), "{command:?}");
    writer.join().expect("a thread").expect("written");
    output.stdout
}

/// An object, opened with `age` and `zstd`.
fn opened(key: &Path, object: &Path) -> Vec<u8> {
    let sealed = std::fs::read(object).expect("an object");
    let packed = piped(Command::new("age").arg("--decrypt").arg("--identity").arg(key), sealed);
    piped(Command::new("zstd").args(["--decompress", "--stdout"]), packed)
}

fn below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(below(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// What was stored of a platform's only database.
struct Stored {
    root: PathBuf,
    key: PathBuf,
}

impl Stored {
    fn of(platform: &Platform) -> Self {
        Self {
            root: platform.data().join("backups"),
            key: platform.data().join("backup.key"),
        }
    }

    /// The newest set, as its commit object tells it.
    fn set(&self) -> Value {
        let all = below(&self.root);
        let newest = all.iter().rfind(|path| path.extension().is_some_and(|e| e == "json"));
        let text = std::fs::read(newest.expect("a set")).expect("read");
        let envelope: Value = serde_json::from_slice(&text).expect("JSON");
        envelope["set"].clone()
    }

    /// The files of the log, whole where they are whole, else with the parts there are.
    fn log(&self, segment_bytes: usize) -> BTreeMap<String, Vec<u8>> {
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let is_log = |path: &&PathBuf| path.to_string_lossy().contains("/wal/");
        let all = below(&self.root);
        // Parts first: a whole file is put over them.
        let (parts, wholes): (Vec<_>, Vec<_>) = all
            .iter()
            .filter(is_log)
            .partition(|path| path.to_string_lossy().contains(".part."));
        for path in parts.into_iter().chain(wholes) {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            let words: Vec<&str> = name.split('.').collect();
            let content = opened(&self.key, path);
            let offset = match words.as_slice() {
                [_, range, _, "part", "zst", "age"] => {
                    let from = range.split('-').next().expect("a number");
                    usize::from_str_radix(from, 16).expect("a number")
                }
                [_, _, "zst", "age"] => 0,
                _ => panic!("{name}"),
            };
            let file = files
                .entry(words[0].to_owned())
                .or_insert_with(|| vec![0; segment_bytes]);
            file[offset..offset + content.len()].copy_from_slice(&content);
        }
        files
    }
}

/// A server that was put together by hand.
struct ByHand {
    directory: tempfile::TempDir,
    process: Child,
    name: &'static str,
}

impl ByHand {
    fn restored(stored: &Stored, name: &'static str) -> Self {
        let set = stored.set();
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path().join("data");
        std::fs::create_dir(&data).expect("made");
        let home = format!(
            "v1/{}/{}",
            set["database"].as_str().expect("an id"),
            set["system"].as_str().expect("a number")
        );
        let base = format!(
            "{home}/base/{}/base.tar.zst.age",
            set["backup"].as_str().expect("an id")
        );
        let archive = opened(&stored.key, &stored.root.join(base));
        piped(
            Command::new("tar").args(["--extract", "--directory"]).arg(&data),
            archive,
        );
        let segment_bytes = usize::try_from(set["segment_bytes"].as_u64().expect("a size")).expect("a size");
        for (name, content) in stored.log(segment_bytes) {
            std::fs::write(data.join("pg_wal").join(name), content).expect("written");
        }
        std::fs::write(data.join("recovery.signal"), "").expect("written");
        give_to_postgres(directory.path());
        Command::new("chmod").args(["0700"]).arg(&data).status().expect("chmod");
        let process = as_postgres(&programs().join("postgres"))
            .arg("-D")
            .arg(&data)
            .args([
                "-c",
                "listen_addresses=",
                "-c",
                "restore_command=false",
                "-c",
                "hot_standby=off",
            ])
            .args(["-c", "max_connections=100", "-c", "track_commit_timestamp=on"])
            .arg("-c")
            .arg(format!("unix_socket_directories={}", directory.path().display()))
            .stderr(Stdio::null())
            .spawn()
            .expect("postgres");
        let restored = Self {
            directory,
            process,
            name,
        };
        until("the restored server answers", || {
            let output = restored.psql("select 1");
            (output.as_deref() == Some("1")).then_some(())
        });
        restored
    }

    fn psql(&self, statement: &str) -> Option<String> {
        let output = Command::new(programs().join("psql"))
            .args([
                "--no-psqlrc",
                "--tuples-only",
                "--no-align",
                "--username=postgres",
                "--dbname",
                self.name,
            ])
            .arg(format!("--host={}", self.directory.path().display()))
            .args(["--command", statement])
            .stderr(Stdio::null())
            .output()
            .expect("psql");
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success().then_some(text)
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        let _ = as_postgres(&programs().join("pg_ctl"))
            .args(["stop", "--mode=immediate", "--silent", "--pgdata"])
            .arg(self.directory.path().join("data"))
            .status();
        let _ = self.process.wait();
    }
}

fn recovery(platform: &Platform, name: &str) -> Value {
    platform.get(&format!("/v1/databases/{name}/recovery"))
}

/// Until everything that was committed before now is stored.
fn covered(platform: &Platform, name: &str) {
    let now = chrono::Utc::now();
    until("what was written is stored", || {
        let found = recovery(platform, name);
        let to = found["windows"].as_array()?.last()?["to"].as_str()?.to_owned();
        let to: chrono::DateTime<chrono::Utc> = to.parse().expect("a time");
        (to >= now).then_some(())
    });
}

fn run(name: &str, statement: &str) -> String {
    let (ok, said) = psql_inside(name, "postgres", name, statement);
    assert!(ok, "{statement}: {said}");
    said
}

#[test]
fn what_was_committed_is_had_back_with_the_tools_of_any_distribution() {
    let platform = platform();
    made(&platform, "ledger");
    run("ledger", "create table entries (id int primary key, note text)");
    run(
        "ledger",
        "insert into entries select n, md5(n::text) from generate_series(1, 5000) n",
    );
    until("the first copy is stored", || {
        let found = platform.get("/v1/databases/ledger/backups");
        (found["items"][0]["state"] == "stored").then_some(())
    });
    run("ledger", "insert into entries values (5001, 'after the copy')");
    // A whole file of the log takes the place of its parts.
    run("ledger", "select pg_switch_wal()");
    run(
        "ledger",
        "insert into entries values (5002, 'in another file of the log')",
    );
    covered(&platform, "ledger");
    let (code, out, err) = platform.cli(&["db", "recovery", "ledger"]);
    assert!(
        code == 0 && out.contains("streaming") && out.contains("RESTORABLE FROM"),
        "{out}{err}"
    );

    let stored = Stored::of(&platform);
    let keys = below(&stored.root);
    let names = || keys.iter().map(|path| path.to_string_lossy().into_owned());
    assert!(
        names().any(|name| name.contains("/wal/") && !name.contains(".part.")),
        "{keys:?}"
    );
    for path in &keys {
        if path.extension().is_some_and(|e| e == "age") {
            let bytes = std::fs::read(path).expect("an object");
            assert!(bytes.starts_with(b"age-encryption.org/v1\n"), "{}", path.display());
        }
    }
    let restored = ByHand::restored(&stored, "ledger");
    assert_eq!(
        restored
            .psql("select count(*), max(id), min(note) from entries where id > 5000")
            .as_deref(),
        Some("2|5002|after the copy")
    );
    assert_eq!(restored.psql("select count(*) from entries").as_deref(), Some("5002"));
}

#[test]
fn a_backup_is_asked_for_and_a_second_one_meanwhile_is_refused() {
    let platform = platform();
    let (code, _, err) = platform.cli(&["db", "backup", "nothing"]);
    assert!(code == 1 && err.contains("nothing"), "{err}");
    made(&platform, "asked");
    until("the first copy is stored", || {
        (!recovery(&platform, "asked")["last_backup_at"].is_null()).then_some(())
    });
    let (code, out, err) = platform.cli(&["db", "backup", "asked"]);
    assert!(
        code == 0 && err.contains("is stored and was read back"),
        "{out}{err}{}",
        platform.log()
    );
    let (code, out, err) = platform.cli(&["db", "backups", "asked"]);
    assert!(
        code == 0 && out.matches("stored").count() == 2 && out.contains("platform"),
        "{out}{err}"
    );
}

#[test]
fn a_log_that_was_interrupted_is_shown_as_a_gap_and_gets_a_copy_of_its_own() {
    let platform = platform();
    made(&platform, "gapped");
    until("the first copy is stored", || {
        (!recovery(&platform, "gapped")["last_backup_at"].is_null()).then_some(())
    });
    // As a server does whose log grew longer than it may while it could not be stored.
    let end = "select pg_terminate_backend(active_pid) from pg_replication_slots where active";
    until("the slot is gone", || {
        run("gapped", end);
        psql_inside(
            "gapped",
            "postgres",
            "gapped",
            "select pg_drop_replication_slot('slipway_backup')",
        )
        .0
        .then_some(())
    });
    let found = until("another stretch has its copy", || {
        let found = recovery(&platform, "gapped");
        (found["windows"].as_array()?.len() == 2).then_some(found)
    });
    assert_eq!(found["gaps"][0]["reason"]["code"], "slot_gone", "{found}");
    assert_eq!(found["stream"], "streaming", "{found}");
}

#[test]
fn a_worker_that_is_killed_goes_on_where_it_was() {
    let mut platform = platform();
    made(&platform, "killed");
    run("killed", "create table entries (id int primary key)");
    until("the first copy is stored", || {
        (!recovery(&platform, "killed")["last_backup_at"].is_null()).then_some(())
    });
    run("killed", "insert into entries values (1)");
    covered(&platform, "killed");
    signal(platform.child_pid("serve").expect("the control plane"), "KILL");
    run("killed", "insert into entries values (2)");
    platform.ready();
    covered(&platform, "killed");
    let found = recovery(&platform, "killed");
    assert_eq!(
        (found["windows"].as_array().map(Vec::len), &found["gaps"]),
        (Some(1), &json!([])),
        "{found}"
    );
    let restored = ByHand::restored(&Stored::of(&platform), "killed");
    assert_eq!(restored.psql("select count(*) from entries").as_deref(), Some("2"));
}

fn restored(platform: &Platform, arguments: &[&str]) {
    let (code, out, err) = platform.cli(arguments);
    assert!(code == 0 && err.contains("is ready"), "{out}{err}{}", platform.log());
}

#[test]
fn a_database_is_restored_into_another_one_as_it_was_at_a_moment_and_at_last() {
    let platform = platform();
    made(&platform, "source");
    run(
        "source",
        "create table entries (id int primary key, at timestamptz default clock_timestamp())",
    );
    run("source", "alter table entries owner to source");
    until("the first copy is stored", || {
        (!recovery(&platform, "source")["last_backup_at"].is_null()).then_some(())
    });
    run("source", "insert into entries select n from generate_series(1, 1000) n");
    let moment = run(
        "source",
        "select to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
    );
    run("source", "delete from entries where id <= 900");
    run("source", "select pg_switch_wal()");
    run("source", "insert into entries values (2000)");
    covered(&platform, "source");

    restored(
        &platform,
        &["db", "restore", "source", "--into", "earlier", "--to", &moment],
    );
    assert_eq!(run("earlier", "select count(*) from entries"), "1000");
    restored(&platform, &["db", "restore", "source", "--into", "latest"]);
    assert_eq!(run("latest", "select count(*), max(id) from entries"), "101|2000");
    assert_eq!(
        run("source", "select count(*) from entries"),
        "101",
        "the source is as it was"
    );

    // It is a database of its own: names, passwords, backups.
    let (ok, said) = psql_inside("latest", "latest_reader", "latest", "select count(*) from entries");
    assert_eq!((ok, said.as_str()), (true, "101"));
    let roles = "select string_agg(rolname, ' ' order by rolname) from pg_roles where rolcanlogin";
    assert_eq!(run("latest", roles), "latest latest_reader postgres slipway_backup");
    with_app(&platform, "moved");
    let (code, out, err) = platform.cli(&["db", "attach", "latest", "-a", "moved"]);
    assert_eq!(code, 0, "{out}{err}");
    let (app, url) = told("moved");
    assert_eq!(
        psql_beside(&app, &url, "select count(*) from entries"),
        (true, "101".into())
    );
    until("it has a copy of its own", || {
        (!recovery(&platform, "latest")["last_backup_at"].is_null()).then_some(())
    });
    let found = platform.get("/v1/databases/latest");
    assert_eq!(
        (&found["restore"]["phase"], &found["restore"]["source"]),
        (&json!("done"), &json!("source")),
        "{found}"
    );
}

#[test]
fn what_cannot_be_restored_is_refused_or_given_up_with_the_reason_before_anything_is_touched() {
    let platform = platform();
    made(&platform, "broken");
    until("the first copy is stored", || {
        (!recovery(&platform, "broken")["last_backup_at"].is_null()).then_some(())
    });
    for (arguments, said) in [
        (&["--to", "2020-01-01T00:00:00Z"][..], "These can:"),
        (&["--backup", "bkp_00000000000000000000000000"], "There is no copy"),
        (&["--backup", "nonsense"], "is not an identifier"),
    ] {
        let (code, _, err) = platform.cli(&[&["db", "restore", "broken", "--into", "other"], arguments].concat());
        assert!(code == 1 && err.contains(said), "{err}");
    }
    let (code, _, err) = platform.cli(&["db", "restore", "broken", "--into", "broken"]);
    assert!(code == 1 && err.contains("exists already"), "{err}");

    // One bit of the archive.
    let stored = Stored::of(&platform);
    let archive = below(&stored.root)
        .into_iter()
        .find(|path| path.ends_with("base.tar.zst.age"))
        .expect("an archive");
    let whole = std::fs::read(&archive).expect("read");
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    std::fs::write(&archive, &changed).expect("written");
    let (code, _, err) = platform.cli(&["db", "restore", "broken", "--into", "damaged"]);
    assert!(code == 1 && err.contains("is not what was stored"), "{err}");
    let volume = docker(&["volume", "ls", "--quiet", "--filter", "label=slipway.database=damaged"]);
    assert_eq!(volume.trim(), "", "nothing was touched");
    let (code, out, err) = platform.cli(&["db", "delete", "damaged", "--yes"]);
    assert_eq!(code, 0, "{out}{err}");
    std::fs::write(&archive, &whole).expect("written");
    restored(&platform, &["db", "restore", "broken", "--into", "whole"]);
}

#[test]
fn what_is_old_is_given_up_and_what_is_left_can_be_restored() {
    let platform = platform();
    made(&platform, "aged");
    run("aged", "create table entries (id int primary key)");
    let backup = || {
        let (code, out, err) = platform.cli(&["db", "backup", "aged"]);
        assert_eq!(code, 0, "{out}{err}{}", platform.log());
    };
    until("the first copy is stored", || {
        (!recovery(&platform, "aged")["last_backup_at"].is_null()).then_some(())
    });
    for entry in 1..=2 {
        run("aged", &format!("insert into entries values ({entry})"));
        run("aged", "select pg_switch_wal()");
        backup();
    }
    let stored = Stored::of(&platform);
    let objects = |part: &str| {
        below(&stored.root)
            .iter()
            .filter(|path| path.to_string_lossy().contains(part))
            .count()
    };
    let copies = || {
        platform.get("/v1/databases/aged/backups")["items"]
            .as_array()
            .map(Vec::len)
    };
    let log_before = objects("/wal/");
    assert_eq!((copies(), objects("/commit/"), objects("base.tar")), (Some(3), 3, 3));
    // The first two were made on the same day, long ago.
    platform.sql("update backups set ended_at = ended_at - interval '400 days' where id in (select id from backups order by id limit 2)");
    backup();
    until("the oldest is given up", || (copies() == Some(3)).then_some(()));
    until("and nothing of it is left", || {
        ((objects("/commit/"), objects("base.tar")) == (3, 3)).then_some(())
    });
    assert!(objects("/wal/") < log_before + 4, "its log is given up as well");
    run("aged", "insert into entries values (3)");
    covered(&platform, "aged");
    restored(&platform, &["db", "restore", "aged", "--into", "young"]);
    assert_eq!(run("young", "select count(*) from entries"), "3");
}
