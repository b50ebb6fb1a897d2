//! One cluster below the data directory.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use sha2::{Digest, Sha256};

use super::{Binaries, PostgresError};

/// The role and the database of the platform.
const NAME: &str = "slipway";
/// The system user of Debian's packages, who is there wherever they are.
const SYSTEM_USER: &str = "postgres";
/// The user made where there is none.
const OWN_USER: &str = "slipway-postgres";
/// A Unix socket's path may be so long (unix(7)), with room for the socket's own name.
const SOCKET_DIR_BYTES_MAX: usize = 107 - "/.s.PGSQL.5432.lock".len();
/// How long a server of an earlier start may take to stop.
const STOP_WAIT: Duration = Duration::from_secs(60);
/// How long it may take to get ready: after a crash it reads its log first.
const READY_WAIT: Duration = Duration::from_secs(120);

/// Small, and safe against power loss.
const SETTINGS: &str = "listen_addresses = ''
max_connections = 50
shared_buffers = 32MB
jit = off
unix_socket_permissions = 0700
logging_collector = off
log_min_messages = warning
wal_level = replica
max_wal_size = 256MB
min_wal_size = 32MB
";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct User {
    uid: u32,
    gid: u32,
}

/// A cluster that is ready to be started.
#[derive(Debug, Clone)]
pub struct Cluster {
    binaries: Binaries,
    data: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    user: Option<User>,
}

impl Cluster {
    /// Makes the cluster in `dir` on the first start, and finds it on every later one.
    pub fn prepare(found: &[Binaries], dir: &Path, as_root: bool) -> Result<Self, PostgresError> {
        let user = if as_root { Some(unprivileged_user()?) } else { None };
        make_dir(dir, user)?;
        let data = dir.join("data");
        let binaries = choose(found, &data)?;
        let socket = socket_dir(dir);
        make_dir(&socket, user)?;
        let cluster = Self { binaries, data, socket, log: dir.join("postgres.log"), user };
        cluster.stop_leftover()?;
        if !cluster.data.join("PG_VERSION").exists() {
            cluster.initialise(dir)?;
        }
        write(&cluster.data.join("slipway.conf"), SETTINGS, user)?;
        Ok(cluster)
    }

    /// What the control plane connects to.
    pub fn url(&self) -> String {
        let host: String = self
            .socket
            .display()
            .to_string()
            .bytes()
            .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
            .collect();
        format!("postgres://{NAME}@localhost/{NAME}?host={host}")
    }

    /// Where its programs are.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// The server, to be started; it runs in the foreground and writes to its log.
    pub fn command(&self) -> Result<Command, PostgresError> {
        let fail = |error| PostgresError::Io { what: format!("{} cannot be opened", self.log.display()), error };
        if std::fs::metadata(&self.log).is_ok_and(|m| m.len() > 10 << 20) {
            std::fs::rename(&self.log, self.log.with_extension("log.1")).map_err(fail)?;
        }
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log).map_err(fail)?;
        let mut command = self.as_user("postgres");
        command.arg("-D").arg(&self.data).arg("-k").arg(&self.socket);
        command.stdin(Stdio::null()).stdout(log.try_clone().map_err(fail)?).stderr(log);
        Ok(command)
    }

    /// Waits until it takes connections and the platform's database is there.
    pub async fn wait_ready(&self) -> Result<(), PostgresError> {
        let deadline = tokio::time::Instant::now() + READY_WAIT;
        while !self.is_ready() {
            if tokio::time::Instant::now() > deadline {
                return Err(PostgresError::NotReady(self.log.display().to_string()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if !self.data.join("slipway.created").exists() {
            let mut create = self.as_user("createdb");
            create.arg("-h").arg(&self.socket).args(["-U", NAME, NAME]);
            match run("createdb", create) {
                Err(PostgresError::Program { said, .. }) if said.contains("already exists") => {}
                other => other?,
            }
            write(&self.data.join("slipway.created"), "", self.user)?;
        }
        Ok(())
    }

    /// The server says so in its pid file (line 8 since PostgreSQL 10).
    fn is_ready(&self) -> bool {
        let text = std::fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        text.lines().nth(7).is_some_and(|l| l.trim() == "ready")
    }

    fn as_user(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.program(program));
        if let Some(user) = self.user {
            command.uid(user.uid).gid(user.gid);
        }
        // Nothing of the caller's environment may change how it behaves.
        command.env_clear().env("PATH", &self.binaries.dir).env("LC_ALL", "C.UTF-8").current_dir("/");
        command
    }

    fn initialise(&self, dir: &Path) -> Result<(), PostgresError> {
        let fresh = dir.join("data.new");
        let io = |error| PostgresError::Io { what: format!("{} cannot be made", fresh.display()), error };
        match std::fs::remove_dir_all(&fresh) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        let mut initdb = self.as_user("initdb");
        initdb.arg("-D").arg(&fresh).args([
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--data-checksums",
            "--no-instructions",
            "-U",
            NAME,
        ]);
        run("initdb", initdb)?;
        let main = fresh.join("postgresql.conf");
        let mut text = std::fs::read_to_string(&main).map_err(io)?;
        text.push_str("\ninclude_if_exists = 'slipway.conf'\n");
        write(&main, &text, self.user)?;
        std::fs::rename(&fresh, &self.data).map_err(io)
    }

    /// Stops a server that a killed parent left on this cluster.
    fn stop_leftover(&self) -> Result<(), PostgresError> {
        let text = std::fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        let Some(pid) = text.lines().next().and_then(|l| l.trim().parse().ok()).and_then(Pid::from_raw) else {
            return Ok(());
        };
        let line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
        let ours = String::from_utf8_lossy(&line).contains(&*self.data.to_string_lossy());
        if !ours || kill_process(pid, Signal::INT).is_err() {
            return Ok(());
        }
        tracing::info!(pid = pid.as_raw_nonzero(), "postgres.leftover: a server of an earlier start is asked to stop");
        let deadline = std::time::Duration::from_millis(50);
        for _ in 0..STOP_WAIT.as_millis() / deadline.as_millis() {
            if test_kill_process(pid).is_err() {
                return Ok(());
            }
            std::thread::sleep(deadline);
        }
        let said = format!("the server with pid {} on {} does not stop", pid.as_raw_nonzero(), self.data.display());
        Err(PostgresError::Program { program: "postgres".into(), said })
    }
}

fn choose(found: &[Binaries], data: &Path) -> Result<Binaries, PostgresError> {
    let newest = found.first().cloned().ok_or(PostgresError::NotFound)?;
    let Ok(version) = std::fs::read_to_string(data.join("PG_VERSION")) else { return Ok(newest) };
    let version = version.trim();
    found.iter().find(|b| b.major.to_string() == version).cloned().ok_or_else(|| PostgresError::OtherMajor {
        dir: data.display().to_string(),
        found: version.to_owned(),
        have: found.iter().map(|b| b.major.to_string()).collect::<Vec<_>>().join(", "),
    })
}

/// Below the cluster if the path is short enough for a socket, else in a place that depends on it.
fn socket_dir(dir: &Path) -> PathBuf {
    let near = dir.join("run");
    if near.as_os_str().len() <= SOCKET_DIR_BYTES_MAX {
        return near;
    }
    let hash = Sha256::digest(dir.as_os_str().as_encoded_bytes());
    let short = std::env::temp_dir().join(format!("slipway-{}", hex::encode(&hash[..8])));
    tracing::info!(socket = %short.display(), "postgres.socket: the data directory's path is too long for one");
    short
}

fn unprivileged_user() -> Result<User, PostgresError> {
    let known = [SYSTEM_USER, OWN_USER].iter().find_map(|name| lookup(name));
    if let Some(user) = known {
        return Ok(user);
    }
    let mut useradd = Command::new("useradd");
    useradd.args(["--system", "--no-create-home", "--shell", "/usr/sbin/nologin", OWN_USER]);
    run("useradd", useradd)?;
    lookup(OWN_USER).ok_or_else(|| PostgresError::Program { program: "useradd".into(), said: format!("{OWN_USER} is not there") })
}

fn lookup(name: &str) -> Option<User> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|l| l.split(':').next() == Some(name))?;
    let mut words = line.split(':').skip(2);
    Some(User { uid: words.next()?.parse().ok()?, gid: words.next()?.parse().ok()? })
}

fn make_dir(dir: &Path, user: Option<User>) -> Result<(), PostgresError> {
    let fail = |error| PostgresError::Io { what: format!("{} cannot be made", dir.display()), error };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(fail)?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).map_err(fail)?;
    give(dir, user)
}

fn write(path: &Path, text: &str, user: Option<User>) -> Result<(), PostgresError> {
    let fail = |error| PostgresError::Io { what: format!("{} cannot be written", path.display()), error };
    std::fs::write(path, text).map_err(fail)?;
    give(path, user)
}

fn give(path: &Path, user: Option<User>) -> Result<(), PostgresError> {
    let Some(user) = user else { return Ok(()) };
    chown(path, Some(user.uid), Some(user.gid))
        .map_err(|error| PostgresError::Io { what: format!("{} cannot be given to its user", path.display()), error })
}

fn run(program: &str, mut command: Command) -> Result<(), PostgresError> {
    let fail = |error| PostgresError::Io { what: format!("{program} cannot be run"), error };
    let output = command.stdin(Stdio::null()).output().map_err(fail)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = said.lines().rev().take(5).collect::<Vec<_>>().into_iter().rev().collect();
    Err(PostgresError::Program { program: program.to_owned(), said: said.join("; ") })
}
