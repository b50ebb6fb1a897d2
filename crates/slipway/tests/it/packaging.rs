//! The image and the compose file, really built and started: from the binary of this build, and from base images that
//! the test scripts make.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::platform::{Options, Platform, docker, until};

const BASE: &str = "slipway-test/base:1";
const POSTGRES: &str = "slipway-test/postgres:1";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Removes the image at the end.
struct Image(String);

impl Image {
    /// The runtime stage of the Dockerfile with this build's binary.
    fn build(name: &str) -> Self {
        let context = tempfile::tempdir().expect("a directory");
        let stripped = Command::new("strip")
            .arg("-o")
            .arg(context.path().join("slipway"))
            .arg(env!("CARGO_BIN_EXE_slipway"))
            .status();
        assert!(stripped.expect("strip runs").success());
        let tag = format!("slipway-test/{name}-{}:1", std::process::id());
        let output = Command::new("docker")
            .env("DOCKER_BUILDKIT", "0")
            .args(["build", "--quiet", "--target", "from-binary", "--tag", &tag])
            .args(["--build-arg", &format!("RUNTIME_IMAGE={BASE}"), "--file"])
            .arg(repository().join("Dockerfile"))
            .arg(context.path())
            .output()
            .expect("the docker client runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self(tag)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // Whatever is left of it says so in `docker images`.
        let _ = Command::new("docker").args(["rmi", "--force", &self.0]).output();
    }
}

#[test]
fn the_image_runs_without_rights_and_says_its_version() {
    let image = Image::build("alone");
    let user = docker(&["image", "inspect", "--format", "{{.Config.User}}", &image.0]);
    assert_eq!(user.trim(), "65532:65532");
    let version = docker(&["run", "--rm", "--read-only", "--cap-drop", "ALL", &image.0, "--version"]);
    assert!(version.starts_with("slipway "), "{version}");
}

/// The compose file, started under a project name of its own.
struct Compose<'a> {
    platform: &'a Platform,
    image: &'a Image,
    project: String,
}

impl Compose<'_> {
    fn run(&self, arguments: &[&str]) -> (bool, String) {
        let plugin = Command::new("docker").args(["compose", "version"]).output();
        let mut command = if plugin.is_ok_and(|p| p.status.success()) {
            let mut command = Command::new("docker");
            command.arg("compose");
            command
        } else {
            Command::new("docker-compose")
        };
        let socket = std::fs::metadata("/var/run/docker.sock").expect("an engine on this machine");
        command
            .arg("--project-name")
            .arg(&self.project)
            .arg("--file")
            .arg(repository().join("docker-compose.yml"))
            .args(arguments)
            .envs(self.platform.variables().iter().map(|(k, v)| (k, v)))
            .env("DOCKER_GID", std::os::unix::fs::MetadataExt::gid(&socket).to_string())
            .env("SLIPWAY_IMAGE", &self.image.0)
            .env("SLIPWAY_PLATFORM_POSTGRES_IMAGE", POSTGRES);
        let output = command
            .output()
            .expect("compose runs: `apt-get install docker-compose`");
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    fn must(&self, arguments: &[&str]) -> String {
        let (well, text) = self.run(arguments);
        assert!(well, "{arguments:?}: {text}");
        text
    }

    /// A file of the control plane.
    fn read(&self, path: &str) -> Option<String> {
        let container = format!("{}_control_1", self.project);
        let dashed = format!("{}-control-1", self.project);
        [container, dashed].iter().find_map(|name| {
            let output = Command::new("docker").args(["exec", name, "cat", path]).output().ok()?;
            output
                .status
                .success()
                .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
        })
    }
}

impl Drop for Compose<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- what the services said ---\n{}",
                self.run(&["logs", "--no-color"]).1
            );
        }
        self.run(&["down", "--volumes", "--timeout", "5"]);
    }
}

#[test]
fn the_compose_file_starts_a_platform_that_serves_an_app_over_https() {
    let image = Image::build("composed");
    let platform = Platform::prepare(Options {
        private_postgres: true,
        ..Options::default()
    });
    // Dropped, and with it stopped, before the platform whose settings it has and the image it runs.
    let compose = Compose {
        platform: &platform,
        image: &image,
        project: format!("slipway-it-{}", std::process::id()),
    };
    compose.must(&["up", "--detach", "--no-build"]);
    // The data directory that the other helpers read is this test's own: what they need of it is copied there.
    for file in ["admin.token", "ca/root.pem"] {
        let text = until(file, || compose.read(&format!("/var/lib/slipway/{file}")));
        let path = platform.data().join(file);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        std::fs::write(path, text).expect("written");
    }
    until("API and proxy are ready", || platform.is_ready().then_some(()));
    platform
        .call("POST", "/v1/apps", Some(&serde_json::json!({"name": "composed"})))
        .expect(201);
    let path = "/v1/apps/composed/deployments?wait=90s";
    let body = serde_json::json!({"image": "slipway-test/app:1", "pull": "local"});
    platform.call("POST", path, Some(&body)).expect(200);
    assert_eq!(platform.visit("composed.apps.localhost", "/echo").status, 200);
    // The app is the platform's, not the compose file's: it goes by the platform's own hand.
    platform.call("DELETE", "/v1/apps/composed?force=true", None);
    until("the app's containers are gone", || {
        crate::platform::containers("composed").is_empty().then_some(())
    });
}
