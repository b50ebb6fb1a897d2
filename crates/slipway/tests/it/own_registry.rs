//! A registry of a test's own: its images are nobody else's, and it may go away.

use std::process::{Child, Command, Stdio};

use crate::platform::{docker, until};

/// A registry of a test's own, without a password.
pub(crate) struct Registry {
    address: String,
    child: Child,
    _dir: tempfile::TempDir,
}

impl Registry {
    /// Starts an empty one.
    pub(crate) fn start() -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("its address").to_string();
        drop(free);
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("registry");
        let file = dir.path().join("registry.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{address}'}}\n",
            root.display()
        );
        std::fs::write(&file, text).expect("our own directory");
        let mut command = Command::new("docker-registry");
        command
            .arg("serve")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().expect("docker-registry runs");
        until("the registry answers", || {
            std::net::TcpStream::connect(&address).ok().map(|_| ())
        });
        Self {
            address,
            child,
            _dir: dir,
        }
    }

    /// Pushes the test app with a label of its own, so that each tag has its digest.
    pub(crate) fn push(&self, tag: &str) -> String {
        let dir = tempfile::tempdir().expect("a directory");
        let text = format!("FROM slipway-test/app:1\nLABEL slipway-test={}\n", self.address);
        std::fs::write(dir.path().join("Dockerfile"), text + &format!("LABEL tag={tag}\n")).expect("written");
        let name = format!("{}/app:{tag}", self.address);
        docker(&["build", "--quiet", "--tag", &name, &dir.path().display().to_string()]);
        docker(&["push", "--quiet", &name]);
        docker(&["rmi", &name]);
        name
    }

    /// It is gone from now on.
    pub(crate) fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}
