//! A container engine of a test's own, which may be killed, stopped and started as the shared one may not.
//!
//! It has its own data, its own sockets and a containerd that runs on when it is killed, as where an init starts both; a
//! default bridge that nothing uses, and no firewall rules: containers are reached over the bridges of their own networks,
//! which is all that the platform needs. It needs root, as every engine does.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::platform::{children, signal, until};

/// The engine. Dropping it removes its containers and networks, and stops it.
pub(crate) struct PrivateEngine {
    dir: tempfile::TempDir,
    live_restore: bool,
    bridge: String,
    containerd: Option<Child>,
    engine: Option<Child>,
}

impl PrivateEngine {
    /// Starts one; with `live_restore` its containers run on while it does not.
    pub(crate) fn start(live_restore: bool) -> Self {
        Self::start_on(live_restore, None)
    }

    /// Starts one whose disk has room for so many MiB.
    pub(crate) fn with_disk_of(mib: u32) -> Self {
        Self::start_on(false, Some(mib))
    }

    fn start_on(live_restore: bool, disk_mib: Option<u32>) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test starts a container engine of its own and must run as root"
        );
        let dir = tempfile::tempdir().expect("a directory");
        // One of its own: an engine without a bridge removes the one that is called as the shared engine's.
        let bridge = format!("slwt{}", std::process::id());
        let address = format!("198.18.{}.1/24", std::process::id() % 256);
        ip(&["link", "add", &bridge, "type", "bridge"]);
        ip(&["address", "add", &address, "dev", &bridge]);
        let mut engine = Self {
            dir,
            live_restore,
            bridge,
            containerd: None,
            engine: None,
        };
        if let Some(mib) = disk_mib {
            let data = engine.data();
            std::fs::create_dir(&data).expect("our own directory");
            let size = format!("size={mib}m");
            let status = Command::new("mount")
                .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
                .arg(&data)
                .status();
            assert!(status.is_ok_and(|s| s.success()), "a file system in memory is mounted");
        }
        engine.up();
        engine
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> std::path::PathBuf {
        self.dir.path().join("docker.sock")
    }

    /// What `SLIPWAY_DOCKER_HOST` says of it.
    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Where it keeps images and layers.
    pub(crate) fn data(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    /// Starts it, and waits until it answers.
    pub(crate) fn up(&mut self) {
        assert!(self.engine.is_none(), "it runs already");
        if self.containerd.is_none() {
            let config = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";
            std::fs::write(self.path("containerd.toml"), config).expect("our own directory");
            let (socket, root, state) = (self.path("containerd.sock"), self.path("lib"), self.path("run"));
            let config = self.path("containerd.toml");
            let arguments = [
                "--config",
                &config,
                "--address",
                &socket,
                "--root",
                &root,
                "--state",
                &state,
            ];
            self.containerd = Some(self.spawn("containerd", &arguments));
        }
        // A pid file of one that was killed would keep the next from starting.
        let _ = std::fs::remove_file(self.path("pid"));
        let (url, containerd, pid) = (self.url(), self.path("containerd.sock"), self.path("pid"));
        let (data, exec) = (self.path("data"), self.path("exec"));
        let mut arguments = vec![
            "--bridge",
            self.bridge.as_str(),
            "--iptables=false",
            "--ip6tables=false",
            "--host",
            &url,
        ];
        arguments.extend(["--containerd", &containerd, "--data-root", &data, "--exec-root", &exec]);
        arguments.extend(["--pidfile", &pid]);
        arguments.extend(self.live_restore.then_some("--live-restore"));
        let mut engine = self.spawn("dockerd", &arguments);
        until("the private engine answers", || {
            if let Ok(Some(status)) = engine.try_wait() {
                panic!("dockerd ended with {status}:\n{}", self.log());
            }
            self.try_docker(&["version"]).map(|_| ())
        });
        self.engine = Some(engine);
    }

    /// A process that does not outlive a test that is ended from outside.
    fn spawn(&self, program: &str, arguments: &[&str]) -> Child {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("log"));
        let log = log.expect("a log file");
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "TERM", program])
            .args(arguments)
            .stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        command.spawn().expect("`setpriv` of util-linux runs it")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Stops it in good order.
    pub(crate) fn stop(&mut self) {
        end(&mut self.engine, "TERM");
    }

    /// Kills it where it stands.
    pub(crate) fn kill(&mut self) {
        end(&mut self.engine, "KILL");
    }

    /// Everything it runs and itself ends at once, as when the power fails; what it has on disk stays.
    pub(crate) fn power_cut(&mut self) {
        self.kill();
        end(&mut self.containerd, "KILL");
        let containerd = self.path("containerd.sock");
        // The shims first, so that none of them sees its container end.
        let shims: Vec<u32> = processes()
            .filter(|pid| command_line(*pid).contains(&containerd))
            .collect();
        let apps: Vec<u32> = shims.iter().flat_map(|shim| children(*shim)).collect();
        for pid in shims.into_iter().chain(apps) {
            // It may have ended meanwhile.
            let _ = Command::new("kill").args(["-s", "KILL", &pid.to_string()]).status();
        }
    }

    /// Its own client, which must succeed.
    pub(crate) fn docker(&self, arguments: &[&str]) -> String {
        self.try_docker(arguments)
            .unwrap_or_else(|| panic!("docker {arguments:?} failed:\n{}", self.log()))
    }

    fn try_docker(&self, arguments: &[&str]) -> Option<String> {
        let output = Command::new("docker")
            .args(["--host", &self.url()])
            .args(arguments)
            .output()
            .expect("the docker client runs");
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Containers of an app: (id, state).
    pub(crate) fn containers(&self, app: &str) -> Vec<(String, String)> {
        let filter = format!("label=slipway.app={app}");
        let format = "{{.ID}} {{.State}}";
        let text = self.docker(&["ps", "--all", "--no-trunc", "--filter", &filter, "--format", format]);
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        pairs.map(|(id, state)| (id.to_owned(), state.to_owned())).collect()
    }
}

impl Drop for PrivateEngine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the end of the engine's log ---");
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("{}", lines[lines.len().saturating_sub(30)..].join("\n"));
        }
        for (list, remove) in [
            (&["ps", "--all", "--quiet"][..], &["rm", "--force", "--volumes"][..]),
            (
                &["network", "ls", "--quiet", "--filter", "type=custom"],
                &["network", "rm"],
            ),
        ] {
            let ids = self.try_docker(list).unwrap_or_default();
            for id in ids.lines() {
                self.try_docker(&[remove, &[id]].concat());
            }
        }
        self.stop();
        end(&mut self.containerd, "TERM");
        ip(&["link", "delete", &self.bridge]);
        // With live restore the engine leaves its directory mounted upon itself; else it is a disk of its own.
        let _ = Command::new("umount").arg(self.data()).stderr(Stdio::null()).status();
    }
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip")
        .args(arguments)
        .status()
        .expect("`ip` of iproute2 runs");
    assert!(status.success(), "ip {arguments:?}");
}

fn end(child: &mut Option<Child>, with: &str) {
    if let Some(mut child) = child.take() {
        signal(child.id(), with);
        child.wait().expect("a child of ours");
    }
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").expect("the kernel tells of processes");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn command_line(pid: u32) -> String {
    let line = std::fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ")
}
