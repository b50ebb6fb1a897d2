//! Bringing a pinned image here. The image of these tests has a layer that nothing else on the engine has, so that
//! there is something to bring; it is put into the registry once.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

use parking_lot::Mutex;
use slipway_domain::image::{ImageReference, Pin};
use slipway_domain::ports::{PullPolicy, RegistryCredentials, ResolveError};
use slipway_domain::secret::Secret;
use slipway_engine::{Engine, EngineError};

use crate::place::{credentials, docker, docker_lossy, engine, host, registry};

/// Large enough that a pull is not over at once: engines with containerd's image store tell progress ten times a
/// second, and none of what is quicker.
const LAYER_MIB: usize = 64;
const LAYER_BYTES: u64 = (LAYER_MIB as u64) << 20;

fn name() -> String {
    format!("{}/slipway-test/layer:{LAYER_MIB}m", registry())
}

/// Bytes that look random, so that they do not compress, and are always the same.
fn noise() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(LAYER_MIB << 17).flatten().collect()
}

/// Runs a program with this input; it must succeed.
fn run(program: &str, arguments: &[&str], input: &str) {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{program}: {e}"));
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    assert!(child.wait().expect("it ends").success(), "{program} {arguments:?}");
}

/// Makes the image and puts it into the registry; nothing of it stays on the engine.
fn push() {
    let work = tempfile::tempdir().expect("a directory");
    let path = |name: &str| work.path().join(name).display().to_string();
    std::fs::write(path("noise"), noise()).expect("a file");
    let top = work.path().display().to_string();
    let owned = ["--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"];
    run(
        "tar",
        &[&owned[..], &["-C", &top, "-cf", &path("layer.tar"), "noise"]].concat(),
        "",
    );
    docker(&["import", &path("layer.tar"), &name()]);
    let (login, client) = (credentials(), ["--host", &host(), "--config", &top]);
    let who = ["login", "--username", &login.username, "--password-stdin", &registry()];
    run("docker", &[&client[..], &who].concat(), login.password.expose());
    run("docker", &[&client[..], &["push", &name()]].concat(), "");
    docker(&["image", "rm", &name()]);
}

/// The image, resolved and not on the engine, which it leaves when this is dropped.
struct Absent(Pin);

impl Absent {
    async fn new() -> Self {
        let reference: ImageReference = name().parse().expect("a reference");
        let login = credentials();
        let engine = engine();
        let resolve = async || engine.resolve(&reference, PullPolicy::Registry, Some(&login)).await;
        let pin = match resolve().await {
            Err(ResolveError::NotFound(_)) => {
                push();
                resolve().await
            }
            other => other,
        };
        let pin = Self(pin.expect("the registry has the image"));
        pin.remove();
        pin
    }

    fn remove(&self) {
        docker_lossy(&["image", "rm", &self.0.engine_reference()]);
    }
}

impl Drop for Absent {
    fn drop(&mut self) {
        self.remove();
    }
}

#[tokio::test]
async fn a_pinned_image_comes_here_with_progress_and_goes_again() {
    let absent = Absent::new().await;
    let (engine, pin) = (engine(), &absent.0);
    assert_eq!(engine.has_image(pin).await, Ok(false));
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hear = Arc::clone(&heard);
    let progress = Arc::new(move |done, total| hear.lock().push((done, total)));
    engine
        .pull(pin, Some(&credentials()), progress)
        .await
        .expect("the image is brought here");
    let heard = heard.lock().clone();
    assert!(heard.iter().all(|(done, total)| done <= total), "{heard:?}");
    let (done, total) = heard.iter().copied().max().expect("progress is told");
    assert!(done > 0 && total >= LAYER_BYTES, "{heard:?}");
    assert_eq!(engine.has_image(pin).await, Ok(true));
    let reference = pin.engine_reference();
    let all = engine.images().await.expect("a list");
    let found = all
        .iter()
        .find(|i| i.repo_digests.contains(&reference))
        .expect("listed by its digest");
    assert_eq!(found.tags, [""; 0], "nobody tagged it");
    assert!(found.size_bytes >= LAYER_BYTES, "{found:?}");
    // Who may have it is the registry's to say, not whoever knows its digest.
    for given in [reference.clone(), found.id.to_string()] {
        let given: ImageReference = given.parse().expect("a reference");
        let answer = engine.resolve(&given, PullPolicy::Local, None).await;
        assert!(matches!(answer, Err(ResolveError::NotFound(_))), "{given}: {answer:?}");
    }
    engine
        .pull(pin, Some(&credentials()), Arc::new(|_, _| {}))
        .await
        .expect("it is here already");
    for _ in 0..2 {
        engine
            .remove_image(&reference)
            .await
            .expect("removed, and gone already");
    }
    assert_eq!(engine.has_image(pin).await, Ok(false));
    let answer = pull_as(pin, Some(Secret::new("not-the-password".into()))).await;
    assert!(
        matches!(answer, Err(EngineError::Image(ResolveError::Unauthorized(_)))),
        "{answer:?}"
    );
    let answer = pull_as(pin, None).await;
    assert!(
        matches!(answer, Err(EngineError::Image(ResolveError::Unauthorized(_)))),
        "{answer:?}"
    );
    assert_eq!(engine.has_image(pin).await, Ok(false));
}

async fn pull_as(pin: &Pin, password: Option<Secret>) -> Result<(), EngineError> {
    let login = password.map(|password| RegistryCredentials {
        password,
        ..credentials()
    });
    engine().pull(pin, login.as_ref(), Arc::new(|_, _| {})).await
}

#[tokio::test]
async fn a_digest_that_the_registry_does_not_have_is_not_found() {
    let pin = Pin::Registry {
        name: format!("{}/slipway-test/app", registry()),
        registry: registry(),
        digest: format!("sha256:{}", "0".repeat(64)).parse().expect("a digest"),
    };
    let answer = engine().pull(&pin, Some(&credentials()), Arc::new(|_, _| {})).await;
    assert!(
        matches!(answer, Err(EngineError::Image(ResolveError::NotFound(_)))),
        "{answer:?}"
    );
}
