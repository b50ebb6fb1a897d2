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
