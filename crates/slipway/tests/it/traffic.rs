//! What visitors meet: TLS, pages, sockets, streams, and deploys that lose no request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::platform::{Platform, wait};

fn spec() -> serde_json::Value {
    json!({"health": {"path": "/healthz", "interval": "200ms"}, "resources": {"memory": "64MiB"},
           "deploy": {"drain_timeout": "10s"}})
}

#[test]
fn plain_http_is_sent_to_https_and_unknown_names_are_told_apart() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("page", &spec());
    platform.deploy("page", "1").expect(200);
    wait(async {
        let client = platform
            .browser("page.apps.localhost")
            .resolve("page.apps.localhost", platform.http);
        let url = format!("http://page.apps.localhost:{}/a?b=c", platform.http.port());
        let moved = client
            .build()
            .expect("a client")
            .get(url)
            .send()
            .await
            .expect("the proxy answers");
        assert_eq!(moved.status(), 308);
        let location = moved.headers()["location"].to_str().expect("text").to_owned();
        assert_eq!(
            location,
            format!("https://page.apps.localhost:{}/a?b=c", platform.https.port())
        );
    });
    let missing = platform.visit("nobody.apps.localhost", "/");
    assert_eq!(missing.status, 404);
    assert!(missing.text.contains("No such app"), "{}", missing.text);
    let stranger = platform.browser("stranger.example.com").build().expect("a client");
    let refused = wait(async { stranger.get(platform.url("stranger.example.com", "/")).send().await });
    assert!(refused.is_err(), "an unknown name fails the handshake");
}

#[test]
fn no_request_is_lost_over_deploys_and_a_rollback() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("busy", &spec());
    platform.deploy("busy", "1").expect(200);

    let stop = Arc::new(AtomicBool::new(false));
    let good = Arc::new(AtomicU64::new(0));
    let url = platform.url("busy.apps.localhost", "/echo");
    let clients: Vec<_> = (0..4_u64)
        .map(|worker| {
            let builder = platform.browser("busy.apps.localhost");
            let client = if worker % 2 == 0 { builder.http1_only() } else { builder }
                .build()
                .expect("a client");
            let (stop, good, url) = (Arc::clone(&stop), Arc::clone(&good), url.clone());
            std::thread::spawn(move || {
                let mut lost = Vec::new();
                let mut n = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    n += 1;
                    let id = format!("{worker}-{n}");
                    let sent = wait(async {
                        let response = client.post(format!("{url}?id={id}")).body("x").send().await?;
                        let status = response.status().as_u16();
                        Ok::<_, reqwest::Error>((status, response.text().await?))
                    });
                    match sent {
                        Ok((200, text)) if text.contains(&format!("\"id\":\"{id}\"")) => {
                            good.fetch_add(1, Ordering::Relaxed);
                        }
                        other => lost.push(format!("{id}: {other:?}")),
                    }
                }
                lost
            })
        })
        .collect();

    for tag in ["2", "1", "2"] {
        platform.deploy("busy", tag).expect(200);
    }
    platform
        .call("POST", "/v1/apps/busy/rollback?wait=90s", Some(&json!({})))
        .expect(200);
    stop.store(true, Ordering::Relaxed);
    let lost: Vec<String> = clients.into_iter().flat_map(|c| c.join().expect("a client")).collect();
    assert!(
        lost.is_empty(),
        "lost {} of {}: {:?}",
        lost.len(),
        good.load(Ordering::Relaxed),
        &lost[..lost.len().min(5)]
    );
    assert!(good.load(Ordering::Relaxed) > 100, "the clients were busy");
}

#[test]
fn a_large_upload_streams_through_and_a_larger_one_is_refused() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    let mut small = spec();
    small["http"] = json!({"max_body": "8MiB"});
    platform.app("bulk", &small);
    platform.deploy("bulk", "1").expect(200);
    wait(async {
        let client = platform.browser("bulk.apps.localhost").build().expect("a client");
        let url = platform.url("bulk.apps.localhost", "/upload");
        let sent = client
            .post(&url)
            .body(vec![7_u8; 6 << 20])
            .send()
            .await
            .expect("the proxy answers");
        assert_eq!(sent.status(), 200);
        let text = sent.text().await.expect("a body");
        assert!(text.contains(&(6 << 20).to_string()), "{text}");
        let sent = client.post(&url).body(vec![7_u8; 9 << 20]).send().await;
        assert!(sent.is_err() || sent.is_ok_and(|r| r.status() == 413));
    });
}

/// What curl says of an upload: (status, the version of HTTP).
fn curl(platform: &Platform, host: &str, version: &str, upload: &std::path::Path) -> String {
    let output = std::process::Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "20",
            "--output",
            "/dev/null",
            version,
        ])
        .args(["--write-out", "%{http_code} %{http_version}"])
        .arg("--cacert")
        .arg(platform.data().join("ca/root.pem"))
        .args(["--resolve", &format!("{host}:{}:127.0.0.1", platform.https.port())])
        .arg("--data-binary")
        .arg(format!("@{}", upload.display()))
        .arg(platform.url(host, "/"))
        .output()
        .expect("curl runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{version}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn an_upload_that_the_app_does_not_read_ends_for_a_client_that_sends_all_of_it() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("deaf", &spec());
    platform.deploy("deaf", "1").expect(200);
    let upload = platform.data().join("upload");
    std::fs::write(&upload, vec![b'a'; 8 << 20]).expect("our own directory");
    for _ in 0..5 {
        assert_eq!(curl(&platform, "deaf.apps.localhost", "--http2", &upload), "200 2");
        assert_eq!(curl(&platform, "deaf.apps.localhost", "--http1.1", &upload), "200 1.1");
    }
}

#[test]
fn the_api_is_served_on_its_own_domain() {
    let mut options = crate::platform::Options::default();
    options
        .variables
        .push(("SLIPWAY_API_DOMAIN", "console.localhost".into()));
    let platform = Platform::with(options);
    let health = platform.visit("console.localhost", "/healthz");
    assert_eq!(health.status, 200, "{}", health.text);
    assert_eq!(platform.visit("console.localhost", "/v1/apps").status, 401);
}

#[test]
fn a_web_socket_outlives_deploys_of_other_apps_and_events_arrive_as_they_are_sent() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    for app in ["talks", "other"] {
        platform.app(app, &spec());
        platform.deploy(app, "1").expect(200);
    }
    wait(async {
        let client = platform.browser("talks.apps.localhost").http1_only();
        let client = client.build().expect("a client");
        let key = tokio_tungstenite::tungstenite::handshake::client::generate_key();
        let asked = client
            .get(platform.url("talks.apps.localhost", "/ws"))
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", key);
        let switched = asked.send().await.expect("the app answers");
        assert_eq!(switched.status(), 101);
        let raw = switched.upgrade().await.expect("a tunnel");
        let mut socket = WebSocketStream::from_raw_socket(raw, Role::Client, None).await;
        for text in ["before", "after"] {
            socket.send(Message::text(text)).await.expect("sent");
            let back = socket.next().await.expect("open").expect("a message");
            assert_eq!(back.into_text().expect("text").as_str(), text);
            tokio::task::block_in_place(|| platform.deploy("other", "2").expect(200));
        }

        let url = platform.url("talks.apps.localhost", "/sse?n=600");
        let mut events = client.get(url).send().await.expect("the app answers");
        let mut text = String::new();
        // The stream lasts a minute: what is here after the third event came while the app was still writing.
        while !text.contains("data: event 2\n") {
            let chunk = events.chunk().await.expect("whole").expect("not the end yet");
            text.push_str(&String::from_utf8_lossy(&chunk));
        }
        assert!(!text.contains("data: event 599"), "{text}");
    });
}

#[test]
fn the_command_line_works_against_the_apis_own_domain() {
    let variables = vec![("SLIPWAY_API_DOMAIN", "console.localhost".to_owned())];
    let platform = Platform::with(crate::platform::Options {
        variables,
        ..crate::platform::Options::default()
    });
    let home = tempfile::tempdir().expect("a directory");
    let root = platform.data().join("ca/root.pem").display().to_string();
    let url = format!("https://console.localhost:{}", platform.https.port());
    let run = |arguments: &[&str], input: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_slipway"));
        command.args(arguments).env_clear().env("HOME", home.path());
        let mut child = command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut stdin = child.stdin.take().expect("piped");
        std::io::Write::write_all(&mut stdin, input.as_bytes()).expect("it reads");
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    let (code, said) = run(&["login", &url, "--token-stdin"], &platform.token());
    assert_eq!(code, Some(1), "an authority nobody knows: {said}");
    assert!(said.contains("--cacert"), "{said}");
    let (code, said) = run(&["login", &url, "--token-stdin", "--cacert", &root], &platform.token());
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = run(&["apps", "create", "remote"], "");
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = run(&["apps", "list"], "");
    assert!(code == Some(0) && said.contains("remote"), "{said}");
}
