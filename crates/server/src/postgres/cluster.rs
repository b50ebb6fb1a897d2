//! One cluster below the data directory.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Signal, kill_process, test_kill_process};

use super::pidfile::{self, State};
use super::place::{self, User, make_dir, write};
use super::{Binaries, Contained, PostgresError, Programs, Source, run};

/// The role and the database of the platform.
const NAME: &str = "slipway";
/// How long a server of an earlier start may take to stop.
const STOP_WAIT: Duration = Duration::from_mins(1);
/// How long it may take to get ready: after a crash it reads its log first.
const READY_WAIT: Duration = Duration::from_mins(2);

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

/// A cluster that is ready to be started.
#[derive(Debug, Clone)]
pub struct Cluster {
    programs: Programs,
    data: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    user: Option<User>,
}

impl Cluster {
    /// Makes the cluster in `dir` on the first start, and finds it on every later one.
    pub fn prepare(found: &[Binaries], dir: &Path, as_root: bool) -> Result<Self, PostgresError> {
        let user = if as_root {
            Some(place::unprivileged_user()?)
        } else {
            None
        };
        make_dir(dir, user.as_ref())?;
        let data = dir.join("data");
        let source = choose(found, &data)?.source;
        let socket = place::socket_dir(dir, &place::short_base(user.as_ref()), user.as_ref())?;
        let cluster = Self {
            programs: programs(source, dir, &socket, user.as_ref())?,
            data,
            socket,
            log: dir.join("postgres.log"),
            user,
        };
        stop_leftover(&cluster.data)?;
        if !cluster.data.join("PG_VERSION").exists() {
            cluster.initialise(dir)?;
        }
        write(&cluster.data.join("slipway.conf"), SETTINGS, cluster.user.as_ref())?;
        Ok(cluster)
    }

    /// The same below a platform's data directory, through which the server's own user is let.
    pub fn prepare_below(found: &[Binaries], data_dir: &Path, as_root: bool) -> Result<Self, PostgresError> {
        if as_root {
            place::let_through(data_dir, &place::unprivileged_user()?)?;
        }
        Self::prepare(found, &super::directory(data_dir), as_root)
    }

    /// What the control plane connects to.
    pub fn url(&self) -> String {
        let host: String = self
            .socket
            .display()
            .to_string()
            .bytes()
            .map(|b| {
                if b.is_ascii_alphanumeric() {
                    char::from(b).to_string()
                } else {
                    format!("%{b:02X}")
                }
            })
            .collect();
        format!("postgres://{NAME}@localhost/{NAME}?host={host}")
    }

    /// Its programs.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// The server, to be started; it runs in the foreground and writes to its log.
    pub fn command(&self) -> Result<Command, PostgresError> {
        let fail = |error| PostgresError::Io {
            what: format!("{} cannot be opened", self.log.display()),
            error,
        };
        if std::fs::metadata(&self.log).is_ok_and(|m| m.len() > 10 << 20) {
            std::fs::rename(&self.log, self.log.with_extension("log.1")).map_err(fail)?;
        }
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(fail)?;
        let mut command = self.programs.command("postgres");
        command.arg("-D").arg(&self.data).arg("-k").arg(&self.socket);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(fail)?)
            .stderr(log);
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
            let mut create = self.programs.command("createdb");
            create.arg("-h").arg(&self.socket).args(["-U", NAME, NAME]);
            match run("createdb", create) {
                Err(PostgresError::Program { said, .. }) if said.contains("already exists") => {}
                other => other?,
            }
            write(&self.data.join("slipway.created"), "", self.user.as_ref())?;
        }
        Ok(())
    }

    fn is_ready(&self) -> bool {
        matches!(pidfile::look(&self.data), State::Running(r) if r.ready)
    }

    fn initialise(&self, dir: &Path) -> Result<(), PostgresError> {
        let fresh = dir.join("data.new");
        let io = |error| PostgresError::Io {
            what: format!("{} cannot be made", fresh.display()),
            error,
        };
        match std::fs::remove_dir_all(&fresh) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        let mut initdb = self.programs.command("initdb");
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
        write(&main, &text, self.user.as_ref())?;
        std::fs::rename(&fresh, &self.data).map_err(io)
    }
}

/// Stops a server that a killed parent left on this cluster, and removes a pid file that would keep a new one from
/// starting. Its backends need no care: a new server waits for them by their shared memory. Says whether there was one.
pub(super) fn stop_leftover(data: &Path) -> Result<bool, PostgresError> {
    let pid = match pidfile::look(data) {
        State::Absent => return Ok(false),
        State::Taken(other) => {
            tracing::info!(
                pid = other.as_raw_nonzero(),
                "postgres.stale_pid_file: that process is another program"
            );
            let path = data.join("postmaster.pid");
            std::fs::remove_file(&path).map_err(|error| PostgresError::Io {
                what: format!("{} cannot be removed", path.display()),
                error,
            })?;
            return Ok(false);
        }
        State::Running(running) => running.pid,
    };
    if kill_process(pid, Signal::INT).is_err() {
        return Ok(false);
    }
    tracing::info!(
        pid = pid.as_raw_nonzero(),
        "postgres.leftover: a server of an earlier start is asked to stop"
    );
    let pause = Duration::from_millis(50);
    for _ in 0..STOP_WAIT.as_millis() / pause.as_millis() {
        if test_kill_process(pid).is_err() || pidfile::look(data) == State::Absent {
            return Ok(true);
        }
        std::thread::sleep(pause);
    }
    let said = format!(
        "the server with pid {} on {} does not stop",
        pid.as_raw_nonzero(),
        data.display()
    );
    Err(PostgresError::Program {
        program: "postgres".into(),
        said,
    })
}

/// How the programs are run for this cluster.
fn programs(source: Source, dir: &Path, socket: &Path, user: Option<&User>) -> Result<Programs, PostgresError> {
    let image = match source {
        Source::Directory(dir) => {
            let user = user.cloned();
            return Ok(Programs::Directory { dir, user });
        }
        Source::Image(image) => image,
    };
    let own = || (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let (uid, gid) = user.map_or_else(own, |u| (u.uid, u.gid));
    let passwd = dir.join("passwd");
    write(&passwd, &format!("{NAME}:x:{uid}:{gid}::/:/bin/false\n"), user)?;
    let mut directories = vec![dir.to_owned()];
    if !socket.starts_with(dir) {
        directories.push(socket.to_owned());
    }
    Ok(Programs::Contained(Contained {
        image,
        uid,
        gid,
        directories,
        passwd: Some(passwd),
    }))
}

/// The programs that fit the cluster: those it was made with, or the newest for one that is to be made.
pub(super) fn choose(found: &[Binaries], data: &Path) -> Result<Binaries, PostgresError> {
    let newest = found.first().cloned().ok_or(PostgresError::NotFound)?;
    let Ok(version) = std::fs::read_to_string(data.join("PG_VERSION")) else {
        return Ok(newest);
    };
    let version = version.trim();
    found
        .iter()
        .find(|b| b.major.to_string() == version)
        .cloned()
        .ok_or_else(|| PostgresError::OtherMajor {
            dir: data.display().to_string(),
            found: version.to_owned(),
            have: found.iter().map(|b| b.major.to_string()).collect::<Vec<_>>().join(", "),
        })
}
