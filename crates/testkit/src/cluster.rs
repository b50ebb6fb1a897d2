//! A `PostgreSQL` server of its own for a test that looks at the whole server: its roles, its log, copies of it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The password of its superuser.
pub const PASSWORD: &str = "superuser-password";
const STARTS_WITHIN: Duration = Duration::from_mins(1);

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct Cluster {
    directory: TempDir,
    port: u16,
    process: Option<Child>,
}

impl Cluster {
    /// Makes one and starts it.
    ///
    /// # Panics
    ///
    /// Where PostgreSQL is not installed or does not start.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        give_to_postgres(directory.path());
        let password = directory.path().join("password");
        std::fs::write(&password, PASSWORD).expect("written");
        let data = directory.path().join("data");
        let made = as_postgres(&programs().join("initdb"))
            .args([
                "--username=postgres",
                "--auth-host=scram-sha-256",
                "--auth-local=trust",
                "--data-checksums",
            ])
            .arg(format!("--pwfile={}", password.display()))
            .args(["--wal-segsize=1", "--no-sync", "--pgdata"])
            .arg(&data)
            .output()
            .expect("initdb");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let access = data.join("pg_hba.conf");
        let mut rules = std::fs::read_to_string(&access).expect("read");
        rules = rules
            .lines()
            .filter(|line| !line.contains("replication"))
            .collect::<Vec<_>>()
            .join("\n");
        std::fs::write(&access, rules + "\nhost replication slipway_backup all scram-sha-256\n").expect("written");
        let mut cluster = Self {
            directory,
            port: 0,
            process: None,
        };
        cluster.run();
        cluster
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Its files.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Runs a statement as its superuser and gives what comes of it, one line for each row.
    ///
    /// # Panics
    ///
    /// Where it fails.
    pub fn sql(&self, database: &str, statement: &str) -> String {
        let ran = Command::new(programs().join("psql"))
            .args([
                "--no-psqlrc",
                "--tuples-only",
                "--no-align",
                "--quiet",
                "--host=127.0.0.1",
                "--username=postgres",
            ])
            .args(["--set=ON_ERROR_STOP=1", "--dbname", database, "--command", statement])
            .arg(format!("--port={}", self.port))
            .env("PGPASSWORD", PASSWORD)
            .output()
            .expect("psql");
        assert!(
            ran.status.success(),
            "{statement}: {}",
            String::from_utf8_lossy(&ran.stderr)
        );
        String::from_utf8_lossy(&ran.stdout).trim().to_owned()
    }

    fn run(&mut self) {
        let deadline = Instant::now() + STARTS_WITHIN;
        loop {
            self.port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                .and_then(|l| l.local_addr())
                .expect("a port")
                .port();
            let mut process = as_postgres(&programs().join("postgres"))
                .arg("-D")
                .arg(self.data())
                .args([
                    "-p",
                    &self.port.to_string(),
                    "-c",
                    "listen_addresses=127.0.0.1",
                    "-c",
                    "unix_socket_directories=",
                ])
                .args([
                    "-c",
                    "max_wal_senders=6",
                    "-c",
                    "wal_level=replica",
                    "-c",
                    "password_encryption=scram-sha-256",
                ])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("postgres");
            // Another process may have been given the port meanwhile: then it ends, and another one is tried.
            while process.try_wait().expect("its state").is_none() {
                assert!(Instant::now() < deadline, "PostgreSQL does not start");
                if self.answers() {
                    self.process = Some(process);
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            assert!(Instant::now() < deadline, "PostgreSQL does not start");
        }
    }

    fn answers(&self) -> bool {
        let ready = Command::new(programs().join("pg_isready"))
            .args(["--quiet", "--host=127.0.0.1", &format!("--port={}", self.port)])
            .status();
        TcpStream::connect(self.address()).is_ok() && ready.is_ok_and(|status| status.success())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Its processes end before its files go; a test that failed has more to say than this.
            let stopped = as_postgres(&programs().join("pg_ctl"))
                .args(["stop", "--mode=immediate", "--silent", "--pgdata"])
                .arg(self.data())
                .stderr(Stdio::null())
                .status();
            if !stopped.is_ok_and(|status| status.success()) {
                let _ = process.kill();
            }
            let _ = process.wait();
        }
    }
}

/// The programs of the newest PostgreSQL of this machine.
///
/// # Panics
///
/// Where there is none.
pub fn programs() -> PathBuf {
    let found = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = found.filter_map(|entry| {
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some((version, entry.path().join("bin")))
    });
    newest.max().expect("PostgreSQL is installed").1
}

/// A program as the user that PostgreSQL may be run as: it refuses to be run by root.
pub fn as_postgres(program: &Path) -> Command {
    if is_root() {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"])
            .arg(program);
        command
    } else {
        Command::new(program)
    }
}

/// Gives a directory to that user.
///
/// # Panics
///
/// Where that fails.
pub fn give_to_postgres(directory: &Path) {
    if is_root() {
        let given = Command::new("chown")
            .args(["-R", "postgres:postgres"])
            .arg(directory)
            .status();
        assert!(given.expect("chown").success(), "{}", directory.display());
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
