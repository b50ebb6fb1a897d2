//! Where a test lives: a directory of its own, the PostgreSQL of this machine, and small helpers to watch both.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use slipway_server::postgres::{self, Binaries, Cluster, Source};

/// How long anything may take on a slow machine.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// A directory that is removed at the end, with the server that may still run in it stopped.
pub(crate) struct Place {
    root: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().expect("a temporary directory can be made");
        // As root the server runs as a user of its own, who must be able to pass through.
        std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o711)).expect("the owner may do so");
        Self { root }
    }

    pub(crate) fn path(&self) -> &Path {
        self.root.path()
    }

    /// The platform's data directory.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.root.path().join("slipway")
    }

    /// The private Postgres of a test that has no platform around it.
    pub(crate) fn cluster_dir(&self) -> PathBuf {
        self.root.path().join("postgres")
    }

    /// Makes or finds the cluster.
    pub(crate) fn cluster(&self) -> Cluster {
        Cluster::prepare(&binaries(), &self.cluster_dir(), is_root()).expect("the cluster can be made")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for dir in [self.cluster_dir(), self.data_dir().join("postgres")] {
            let data = dir.join("data");
            let Some(pid) = server_pid(&data) else { continue };
            let line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
            if String::from_utf8_lossy(&line).contains(&*data.to_string_lossy()) {
                // It may have ended in this very moment.
                let _ = kill_process(pid, Signal::QUIT);
            }
        }
    }
}

/// The PostgreSQL programs of this machine; a test without them fails.
pub(crate) fn binaries() -> Vec<Binaries> {
    let found = postgres::find(&postgres_places());
    assert!(
        !found.is_empty(),
        "these tests need PostgreSQL 15 or later: `apt-get install postgresql`"
    );
    found
}

/// Where they may be.
pub(crate) fn postgres_places() -> Vec<PathBuf> {
    postgres::places(&std::env::var("PATH").unwrap_or_default())
}

/// One of the programs of the newest version of this machine.
pub(crate) fn host_program(name: &str) -> PathBuf {
    let newest = binaries().remove(0);
    match newest.source {
        Source::Directory(dir) => dir.join(name),
        Source::Image(_) => panic!("only directories were looked at"),
    }
}

/// Whether the tests run as root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The process that the server's pid file names.
pub(crate) fn server_pid(data: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(data.join("postmaster.pid")).ok()?;
    text.lines().next()?.trim().parse().ok().and_then(Pid::from_raw)
}

/// Starts the server and waits until it is ready.
pub(crate) async fn start(cluster: &Cluster) -> Child {
    let child = cluster
        .command()
        .expect("its log can be opened")
        .spawn()
        .expect("it can be started");
    cluster.wait_ready().await.expect("it gets ready");
    child
}

/// Sends a signal to a child and waits for its end.
pub(crate) fn end(mut child: Child, signal: Signal) {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .expect("a child has a pid");
    kill_process(pid, signal).expect("our own child can be signalled");
    child.wait().expect("our own child can be waited for");
}

/// Runs SQL; the answer's lines, or what psql said.
pub(crate) fn sql(url: &str, text: &str) -> Result<String, String> {
    let output = Command::new(host_program("psql"))
        .args([
            "--no-psqlrc",
            "--quiet",
            "--tuples-only",
            "--no-align",
            "--set",
            "ON_ERROR_STOP=1",
        ])
        .args(["--dbname", url, "--command", text])
        .stdin(Stdio::null())
        .output()
        .expect("psql can be run");
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Waits until `check` gives something, or fails with what was waited for.
pub(crate) async fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(begun.elapsed() < DEADLINE, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
