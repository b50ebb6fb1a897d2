//! Environments that are made for a deploy, begin with another's spec and go away by themselves.

use serde_json::json;

use crate::platform::{Platform, app_image, containers, until};

#[test]
fn a_preview_begins_with_anothers_spec_answers_under_its_own_name_and_goes_when_its_time_is_over() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    let spec = json!({
        "health": {"path": "/healthz", "interval": "200ms", "deadline": "20s"}, "env": {"COLOUR": "green"},
        "resources": {"memory": "64MiB"}, "cron": [{"schedule": "0 0 * * *", "command": ["/app", "release"]}],
        "deploy": {"promote_to": "live"},
    });
    platform.app("shop", &spec);
    platform.deploy("shop", "1").expect(200);
    let preview = format!(
        "/v1/deploy?image={}&app=shop&environment=pr-12&from=production&expires_in=72h&wait=90s",
        app_image("2")
    );
    platform.call("POST", &preview, None).expect(200);
    let page = platform.visit("shop--pr-12.apps.localhost", "/env");
    assert!(page.text.contains("COLOUR=green") && page.text.contains("SLIPWAY_ENVIRONMENT=pr-12"));
    let copied = platform.get("/v1/apps/shop/spec?environment=pr-12");
    assert_eq!(
        copied["spec"]["cron"],
        json!(null),
        "commands by the clock are not copied: {copied}"
    );

    assert_eq!(
        copied["spec"]["deploy"]["promote_to"],
        json!(null),
        "a preview goes on to nowhere: {copied}"
    );
    let staying = platform.call("POST", "/v1/deploy?image=x&app=shop&expires_in=1h", None);
    assert!(staying.status != 202, "{}", staying.text);

    let shown = || {
        let all = platform.get("/v1/apps/shop/environments");
        let items = all["items"].as_array().expect("a list").clone();
        items.into_iter().find(|e| e["name"] == "pr-12")
    };
    let before = shown().expect("there")["expires_at"].clone();
    platform.call("POST", &preview, None).expect(200);
    let after = shown().expect("there")["expires_at"].clone();
    assert!(
        after.as_str() > before.as_str(),
        "a deploy gives it its whole time again"
    );
    let longer = preview.replace("72h", "9d");
    platform.call("POST", &longer, None).expect(200);
    let longer = shown().expect("there")["expires_at"].clone();
    assert!(longer.as_str() > after.as_str(), "it has the time that was given last");
    platform.sql("update environments set expires_at = now() - interval '1 second' where name = 'pr-12'");
    until("it is gone", || {
        (shown().is_none() && containers("shop").len() == 1).then_some(())
    });
    let audit = platform.get("/v1/audit?action=environment.delete");
    assert_eq!(audit["items"][0]["actor"]["type"], "platform", "{audit}");
    assert_eq!(platform.visit("shop.apps.localhost", "/echo").status, 200);
}

#[test]
fn a_preview_of_what_is_not_there_or_for_too_short_a_time_is_refused() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("shop", &json!({}));
    let mistyped = format!(
        "/v1/deploy?image={}&app=chop&environment=pr-12&from=production&expires_in=72h",
        app_image("2")
    );
    let refused = platform.call("POST", &mistyped, None).expect(404);
    assert_eq!(
        refused["code"], "not_found",
        "no app is made to begin with an environment of another"
    );
    for (path, part) in [
        (
            "/v1/deploy?image=x&app=shop&environment=pr-13&expires_in=1s",
            "10m to 90d",
        ),
        (
            "/v1/deploy?image=x&app=shop&environment=pr-13&expires_in=soon",
            "duration",
        ),
    ] {
        let refused = platform.call("POST", path, None);
        assert!(refused.status == 422 && refused.text.contains(part), "{}", refused.text);
    }
    let eternal = json!({"name": "qa", "from": "nowhere"});
    let refused = platform.call("POST", "/v1/apps/shop/environments", Some(&eternal));
    assert_eq!((refused.status, refused.json()["code"] == "not_found"), (404, true));
}
