//! The supervisor: children restarted and stopped in order, sockets that stay, and errors that say what to do.
//!
//! The children are small scripts instead of this program, so that they can crash when a test wants them to.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rustix::process::{Signal, kill_process};
use slipway_server::ServerError;
use slipway_server::config::{Config, Sources};
use slipway_server::up::{self, UpConfig};
use tokio_util::sync::CancellationToken;

use crate::place::{Place, eventually, host_program, is_root, postgres_places, server_pid, sql};

/// Notes its start and ends at once.
const CRASHES: &str = r#"#!/bin/sh
sockets=none
[ -S /proc/$$/fd/3 ] && sockets=3
[ -S /proc/$$/fd/3 ] && [ -S /proc/$$/fd/4 ] && sockets=3,4
echo "$1 fds=$LISTEN_FDS names=$LISTEN_FDNAMES sockets=$sockets" >> NOTES
exit 1
"#;

/// Runs until it is asked to stop; the control plane then writes to the database, slowly.
const STAYS: &str = r#"#!/bin/sh
stop() {
    kill "$sleeper"
    if [ "$1" = serve ] && [ -n "$SLIPWAY_POSTGRES_PROGRAMS" ]; then
        answer=$("PSQL" "$SLIPWAY_DATABASE_URL" -XAtc 'select pg_sleep(0.3)::text || 1')
        echo "serve wrote $answer" >> NOTES
    fi
    echo "$1 stopped" >> NOTES
    exit 0
}
sleep 600 &
sleeper=$!
trap 'stop "$1"' TERM
echo "$1 started" >> NOTES
wait "$sleeper"
"#;

/// Says why, and ends.
const REFUSES: &str = "#!/bin/sh\necho 'the reason why it ended' >&2\nexit 3\n";

/// A platform whose children are a script.
struct Platform {
    place: Place,
    program: PathBuf,
}

impl Platform {
    fn new(script: &str) -> Self {
        let place = Place::new();
        let program = place.path().join("program");
        let notes = place.path().join("notes");
        let script = script
            .replace("NOTES", &notes.display().to_string())
            .replace("PSQL", &host_program("psql").display().to_string());
        std::fs::write(&program, script).expect("it can be written");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("the owner may do so");
        Self { place, program }
    }

    /// What the children have noted so far.
    fn notes(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.place.path().join("notes")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn has(&self, line: &str) -> Option<()> {
        self.notes().iter().any(|l| l == line).then_some(())
    }

    /// Its configuration: any free ports, and `changes`.
    fn config(&self, changes: &[(&str, String)]) -> Config {
        let mut flags = BTreeMap::from([("data_dir".to_owned(), self.place.data_dir().display().to_string())]);
        for key in [
            "api_listen",
            "admin_listen",
            "proxy_admin_listen",
            "http_listen",
            "https_listen",
        ] {
            flags.insert(key.to_owned(), "127.0.0.1:0".to_owned());
        }
        flags.extend(changes.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        Config::load(Sources {
            flags,
            is_root: is_root(),
            ..Sources::default()
        })
        .expect("the configuration is right")
    }

    fn up(&self, changes: &[(&str, String)]) -> UpConfig {
        UpConfig {
            config: self.config(changes),
            program: self.program.clone(),
            arguments: Vec::new(),
            postgres_places: postgres_places(),
            is_root: is_root(),
            log: None,
            begun: CancellationToken::new(),
        }
    }
}

/// A database elsewhere, so that no private one is started; nothing connects to it here.
fn elsewhere() -> (&'static str, String) {
    ("database_url", "postgres://slipway@127.0.0.1:1/slipway".to_owned())
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it has an address")
}

async fn refused(up: UpConfig) -> String {
    let error = up::run(up, CancellationToken::new())
        .await
        .expect_err("it cannot start");
    assert!(matches!(error, ServerError::Setup(_)), "{error:?}");
    error.to_string()
}

#[tokio::test]
async fn children_that_crash_are_started_again_with_their_sockets_and_nobody_is_refused() {
    let platform = Platform::new(CRASHES);
    let api = free_address();
    let stop = CancellationToken::new();
    let run = up::run(
        platform.up(&[elsewhere(), ("api_listen", api.to_string())]),
        stop.clone(),
    );
    let watch = async {
        let count = |line: &str| platform.notes().iter().filter(|l| *l == line).count();
        eventually("three starts of each child", || {
            let proxy = count("proxy fds=2 names=http:https sockets=3,4") >= 3;
            let serve = count("serve fds=1 names=api sockets=3") >= 3;
            (proxy && serve).then_some(())
        })
        .await;
        TcpStream::connect(api).expect("the socket is open though no child lives");
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(run, watch);
    ended.expect("it stops when told to");
    TcpStream::connect(api).expect_err("the socket is closed at the end");
}

#[tokio::test]
async fn in_the_background_what_children_say_is_in_the_log_to_their_last_word() {
    let platform = Platform::new(REFUSES);
    let data = platform.place.data_dir();
    std::fs::create_dir_all(&data).expect("made");
    let mut up = platform.up(&[elsewhere()]);
    up.log = Some(up::SharedLog::open(&data, "slipway").expect("opened"));
    let stop = CancellationToken::new();
    let run = up::run(up, stop.clone());
    let watch = async {
        let said = || std::fs::read_to_string(data.join("log/slipway.log")).unwrap_or_default();
        eventually("a word of each child, twice", || {
            (said().matches("the reason why it ended").count() >= 4).then_some(())
        })
        .await;
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(run, watch);
    ended.expect("it stops when told to");
}

#[tokio::test]
async fn the_database_stops_last_and_cleanly() {
    let platform = Platform::new(STAYS);
    let data = platform.place.data_dir().join("postgres/data");
    let stop = CancellationToken::new();
    let run = up::run(platform.up(&[]), stop.clone());
    let watch = async {
        eventually("both children", || {
            platform
                .has("proxy started")
                .and_then(|()| platform.has("serve started"))
        })
        .await;
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(run, watch);
    ended.expect("it stops when told to");

    assert!(
        platform.has("serve wrote 1").is_some(),
        "the database was there to the end: {:?}",
        platform.notes()
    );
    assert!(platform.has("serve stopped").is_some() && platform.has("proxy stopped").is_some());
    assert!(server_pid(&data).is_none(), "a clean stop removes the pid file");
}

#[tokio::test]
async fn a_killed_database_is_started_again_while_the_children_run_on() {
    let platform = Platform::new(STAYS);
    let data = platform.place.data_dir().join("postgres/data");
    let stop = CancellationToken::new();
    let run = up::run(platform.up(&[]), stop.clone());
    let watch = async {
        eventually("the control plane", || platform.has("serve started")).await;
        let first = server_pid(&data).expect("the server runs");
        kill_process(first, Signal::KILL).expect("a test may kill its own server");
        eventually("another server", || server_pid(&data).filter(|pid| *pid != first)).await;
        let socket = platform
            .place
            .data_dir()
            .join("postgres/run")
            .display()
            .to_string()
            .replace('/', "%2F");
        let url = format!("postgres://slipway@localhost/slipway?host={socket}");
        eventually("an answer", || sql(&url, "select 1").ok()).await;
        stop.cancel();
    };
    let (ended, ()) = tokio::join!(run, watch);
    ended.expect("it stops when told to");
    let starts = platform.notes().iter().filter(|l| *l == "serve started").count();
    assert_eq!(starts, 1, "the control plane was left alone");
}

#[tokio::test]
async fn an_address_in_use_is_told_with_its_setting_and_how_to_find_the_other_program() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("it has an address").to_string();
    for key in [
        "api_listen",
        "http_listen",
        "https_listen",
        "admin_listen",
        "proxy_admin_listen",
    ] {
        let platform = Platform::new(CRASHES);
        let text = refused(platform.up(&[elsewhere(), (key, address.clone())])).await;
        let setting = format!("SLIPWAY_{}", key.to_uppercase());
        for part in [address.as_str(), setting.as_str(), "ss -ltnp"] {
            assert!(text.contains(part), "{part} is missing in: {text}");
        }
        assert!(platform.notes().is_empty(), "no child was started");
    }
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_made_is_told_with_its_setting() {
    let platform = Platform::new(CRASHES);
    let below_a_file = platform.program.join("data").display().to_string();
    let error = up::run(
        platform.up(&[elsewhere(), ("data_dir", below_a_file)]),
        CancellationToken::new(),
    )
    .await;
    let text = error.expect_err("a file is in the way").to_string();
    assert!(text.contains("SLIPWAY_DATA_DIR"), "{text}");
}

#[tokio::test]
async fn a_second_start_says_who_runs_and_down_ends_the_first() {
    let platform = Platform::new(STAYS);
    // `down` sends SIGTERM to the process that holds the lock, which is this one.
    let mut asked = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).expect("a signal");
    let stop = CancellationToken::new();
    let first = up::run(platform.up(&[elsewhere()]), stop.clone());
    let stopped = async {
        asked.recv().await;
        stop.cancel();
    };
    let watch = async {
        eventually("both children", || {
            platform
                .has("proxy started")
                .and_then(|()| platform.has("serve started"))
        })
        .await;
        let text = refused(platform.up(&[elsewhere()])).await;
        let pid = format!("pid {}", std::process::id());
        assert!(text.contains(&pid) && text.contains("slipway down"), "{text}");
        up::down(&platform.place.data_dir())
            .await
            .expect("the first can be stopped")
    };
    let (ended, (), ran) = tokio::join!(first, stopped, watch);
    ended.expect("it stops when told to");
    assert_eq!(ran, up::Stopped::Platform);
    assert!(platform.has("proxy stopped").is_some() && platform.has("serve stopped").is_some());
    let again = up::down(&platform.place.data_dir()).await.expect("asking is no error");
    assert_eq!(again, up::Stopped::Nothing, "it does not run any more");
}

#[tokio::test]
async fn a_start_in_the_background_that_fails_shows_the_end_of_the_log() {
    let platform = Platform::new(REFUSES);
    let config = platform.config(&[elsewhere()]);
    let error = up::detach(&config, &platform.program, &[])
        .await
        .expect_err("the program ends at once");
    assert!(error.to_string().contains("the reason why it ended"), "{error}");
}

#[test]
fn the_screen_names_the_address_the_token_a_deploy_and_how_to_stop() {
    let platform = Platform::new(REFUSES);
    let config = platform.config(&[("api_listen", "127.0.0.1:7070".to_owned())]);
    let text = up::screen(&config);
    let token = config.data_dir.join("admin.token").display().to_string();
    for part in [
        "http://127.0.0.1:7070",
        token.as_str(),
        "/v1/deploy?image=",
        "slipway down",
    ] {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
}
