//! The server's own pid file (`postmaster.pid`): who runs on a cluster, and whether it takes connections.
//!
//! Promises: a file that a crash left behind is never taken for a server that runs, though its process id may long
//! belong to another program.

use std::path::Path;

use rustix::process::Pid;

/// A server that runs on the cluster in `data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Running {
    /// Its process.
    pub(super) pid: Pid,
    /// Whether it takes connections.
    pub(super) ready: bool,
}

/// What the pid file tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nobody runs: there is no file, or its process is gone.
    Absent,
    /// A server of ours.
    Running(Running),
    /// The process id in the file belongs to another program by now: the server would refuse to start.
    Taken(Pid),
}

/// Looks at the pid file and at the process it names.
pub(super) fn look(data: &Path) -> State {
    let text = std::fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let mut lines = text.lines();
    let Some(pid) = lines.next().and_then(|l| l.trim().parse().ok()).and_then(Pid::from_raw) else {
        return State::Absent;
    };
    // Line 8 is the status since PostgreSQL 10; six lines lie between it and the process id.
    let ready = lines.nth(6).is_some_and(|l| l.trim() == "ready");
    // A process that ended and was not waited for has an empty command line.
    let line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    if line.is_empty() {
        return State::Absent;
    }
    let data = data.as_os_str().as_encoded_bytes();
    if line.split(|b| *b == 0).any(|word| word == data) {
        State::Running(Running { pid, ready })
    } else {
        State::Taken(pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(pid: &str, status: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        let text = format!("{pid}\n/data\n1700000000\n5432\n/run\n\n  123 0\n{status}\n");
        std::fs::write(dir.path().join("postmaster.pid"), text).expect("a file");
        dir
    }

    #[test]
    fn a_file_of_a_crashed_server_tells_of_nobody() {
        let gone = data("999999999", "ready   ");
        assert_eq!(look(gone.path()), State::Absent);
        assert_eq!(look(Path::new("/nowhere")), State::Absent);
        assert_eq!(look(data("nonsense", "ready").path()), State::Absent);
    }

    #[test]
    fn a_process_id_that_another_program_got_since_is_told_apart() {
        let own = std::process::id();
        let other = data(&own.to_string(), "ready   ");
        assert!(matches!(look(other.path()), State::Taken(_)));
    }

    #[test]
    fn a_server_is_known_by_its_directory_and_ready_when_it_says_so() {
        let place = data("0", "");
        let mut sleeper = std::process::Command::new("tail")
            .args(["-f", "/dev/null"])
            .arg(place.path())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("tail runs");
        let mut seen = Vec::new();
        for status in ["starting", "ready   "] {
            let text = format!("{}\n/data\n1\n5432\n/run\n\n  1 0\n{status}\n", sleeper.id());
            std::fs::write(place.path().join("postmaster.pid"), text).expect("a file");
            // Right after its start a process has no command line yet.
            let begun = std::time::Instant::now();
            while look(place.path()) == State::Absent && begun.elapsed().as_secs() < 30 {
                std::thread::yield_now();
            }
            seen.push(look(place.path()));
        }
        sleeper.kill().expect("our own child");
        sleeper.wait().expect("our own child");
        let pid = Pid::from_raw(i32::try_from(sleeper.id()).expect("a pid")).expect("a pid");
        let expected = [false, true].map(|ready| State::Running(Running { pid, ready }));
        assert_eq!(seen, expected);
    }
}
