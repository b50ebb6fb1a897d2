//! Who is told of an app that ends again and again.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::platform::{Options, Platform, containers, signal, until};
use crate::receiver::receiver;

type Told = Arc<Mutex<Vec<Value>>>;

/// A webhook that is away for the first call and then takes what it is told.
fn webhook() -> (String, Told) {
    let told = Told::default();
    let seen = Arc::clone(&told);
    let away = Mutex::new(true);
    let address = receiver(move |first_line, body| {
        assert_eq!(first_line, "post /hook?key=sesame http/1.1");
        if std::mem::take(&mut *away.lock().expect("no panic")) {
            return 503;
        }
        seen.lock()
            .expect("no panic")
            .push(serde_json::from_slice(body).expect("JSON"));
        200
    });
    (format!("{address}/hook?key=sesame"), told)
}

fn end_until_it_loops(platform: &Platform) {
    until("it is in a crash loop", || {
        platform.visit("loop.apps.localhost", "/exit");
        let environment = platform.get("/v1/apps/loop/environments")["items"][0].clone();
        (environment["state"] == "crash_loop").then_some(())
    });
}

#[test]
fn f33_a_crash_loop_is_told_once_and_its_end_too() {
    let (address, told) = webhook();
    let mut platform = Platform::with(Options {
        variables: vec![("SLIPWAY_ALERT_WEBHOOK_URL", address)],
        ..Options::default()
    });
    platform.log_in_to_registry();
    platform.app(
        "loop",
        &json!({"health": {"path": "/healthz"}, "deploy": {"bake_time": "0s"}}),
    );
    platform.deploy("loop", "1").expect(200);
    end_until_it_loops(&platform);
    let told_so_far = || told.lock().expect("no panic").clone();
    let first = until("somebody is told", || told_so_far().first().cloned());
    assert_eq!((&first["version"], &first["status"]), (&json!("4"), &json!("firing")));
    let alert = &first["alerts"][0];
    assert_eq!(alert["labels"]["alertname"], "crash_loop");
    assert_eq!(alert["labels"]["app"], "loop");
    let why = alert["annotations"]["description"].as_str().expect("why");
    assert!(why.contains("3 times in a row") && why.contains("exit code 7"), "{why}");

    let (code, shown, _) = platform.cli(&["alerts"]);
    assert_eq!(code, 0);
    assert!(shown.contains("crash_loop") && shown.contains("exit code 7"), "{shown}");
    let listed = platform.get("/v1/alerts?state=firing")["items"].clone();
    assert_eq!(listed[0]["id"], alert["fingerprint"], "{listed}");
    assert_eq!(listed[0]["ended_at"], Value::Null);

    let metrics = platform.metrics();
    for (result, count) in [("failed", 1), ("succeeded", 1)] {
        let line = format!("slipway_alert_notices_total{{result=\"{result}\"}} {count}");
        assert!(metrics.contains(&line), "{metrics}");
    }

    // Whoever takes over does not tell it again, and has forgotten how often it ended before.
    let serve = platform.child_pid("serve").expect("a control plane");
    signal(serve, "KILL");
    until("another control plane", || {
        platform.child_pid("serve").filter(|pid| *pid != serve)
    });
    platform.ready();
    end_until_it_loops(&platform);
    platform.call("POST", "/v1/apps/loop/stop?wait=30s", None).expect(200);
    let last = until("the end is told", || {
        told_so_far().into_iter().find(|t| t["status"] == "resolved")
    });
    assert_eq!(last["alerts"][0]["fingerprint"], alert["fingerprint"]);
    assert_eq!(told_so_far().len(), 2, "once each: {:?}", told_so_far());
    assert_eq!(platform.get("/v1/alerts?state=firing")["items"], json!([]));

    // What was is still there when the app is not.
    assert_eq!(platform.call("DELETE", "/v1/apps/loop", None).status, 204);
    until("it is gone", || containers("loop").is_empty().then_some(()));
    let rows = "select count(*) from environments e join apps a on a.id = e.app_id where a.name = 'loop'";
    until("its rows are gone", || (platform.sql(rows).trim() == "0").then_some(()));
    let listed = platform.get("/v1/alerts")["items"].clone();
    assert_eq!(
        (listed[0]["app"].as_str(), listed[0]["state"].as_str()),
        (Some("loop"), Some("resolved"))
    );
    assert!(!platform.log().contains("sesame"), "the address may hold a token");
}

/// A mail server that asks for a password and keeps what it is sent.
struct MailServer {
    child: std::process::Child,
    dir: tempfile::TempDir,
    port: u16,
}

impl MailServer {
    fn start() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().expect("a directory");
        let port = crate::nameserver::free_port();
        let script = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("it may be run");
            path.display().to_string()
        };
        let keep = script("keep", &format!("cat >> {}", dir.path().join("mail").display()));
        let password = script("password", "echo s3same");
        let child = std::process::Command::new("msmtpd")
            .arg(format!("--port={port}"))
            .arg(format!("--command={keep} %F"))
            .arg(format!("--auth=ops,{password}"))
            .spawn()
            .expect("msmtpd is installed: scripts/setup.sh test");
        until("the mail server answers", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok().map(drop)
        });
        Self { child, dir, port }
    }

    fn mail(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("mail")).unwrap_or_default()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_certificate_that_is_about_to_end_is_written_of_by_e_mail_and_its_renewal_too() {
    let server = MailServer::start();
    let platform = Platform::with(Options {
        variables: vec![
            (
                "SLIPWAY_SMTP_URL",
                format!("smtp://ops:s3same@127.0.0.1:{}", server.port),
            ),
            ("SLIPWAY_SMTP_FROM", "Slipway <slipway@example.com>".into()),
            ("SLIPWAY_ALERT_EMAIL", "ops@example.com, team@example.com".into()),
        ],
        ..Options::default()
    });
    platform.log_in_to_registry();
    platform.app("mail", &json!({}));
    platform
        .call("POST", "/v1/apps/mail/domains", Some(&json!({"host": "mail.test"})))
        .expect(201);
    let certificate = "certificates where names = array['mail.test'] and replaced_at is null";
    until("it has a certificate", || {
        (platform.sql(&format!("select count(*) from {certificate}")).trim() == "1").then_some(())
    });
    // Its renewal is put off, as if it could not be had.
    platform.sql(
        "update certificates set not_before = now() - interval '84 days', not_after = now() + interval '2 days', \
         renew_at = now() + interval '1 day' where names = array['mail.test']; notify slipway_domains",
    );
    let mail = until("somebody is written to", || {
        let mail = server.mail();
        mail.contains("mail.test ends within 3 days").then_some(mail)
    });
    for part in [
        "From: Slipway <slipway@example.com>",
        "To: ops@example.com, team@example.com",
        "Subject: [slipway] mail (production): certificate_expiring",
    ] {
        assert!(mail.contains(part), "{part}: {mail}");
    }
    platform.sql("update certificates set renew_at = now() where names = array['mail.test']; notify slipway_domains");
    until("its end is written of too", || {
        server
            .mail()
            .contains("[slipway] over: mail (production)")
            .then_some(())
    });
    let written = server.mail().matches("Subject: [slipway] mail").count();
    assert_eq!(written, 1, "once: {}", server.mail());
}
