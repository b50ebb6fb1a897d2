//! Domains from `domains add` to the padlock.

use std::io::Write as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::authority::{Authority, Manners};
use crate::nameserver::{NameServer, Resolver};
use crate::platform::{Options, Platform, signal, until, wait};

fn spec() -> Value {
    json!({"health": {"path": "/healthz", "interval": "100ms"}, "resources": {"memory": "64MiB"}})
}

pub(crate) fn with_app(platform: &Platform, app: &str) {
    platform.log_in_to_registry();
    platform.app(app, &spec());
    platform.deploy(app, "1").expect(200);
}

/// A platform that orders at a CA of its own, with its name server.
pub(crate) fn public(manners: Manners) -> (Platform, Authority, NameServer) {
    let names = NameServer::start();
    let mut platform = Platform::prepare(Options::default());
    let authority = Authority::start(&names, &platform, manners);
    for (name, value) in authority.settings(&names) {
        platform.set(name, value);
    }
    platform.up();
    (platform, authority, names)
}

/// What a visitor sees who trusts this root: the status and the `location`, or nothing where there is no handshake.
pub(crate) fn visit(platform: &Platform, root: &[u8], host: &str) -> Option<(u16, String)> {
    let root = reqwest::Certificate::from_pem(root).expect("a certificate");
    let client = reqwest::Client::builder()
        .tls_certs_only([root])
        .resolve(host, platform.https)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client");
    let sent = wait(async { client.get(platform.url(host, "/echo?a=b")).send().await });
    sent.ok().map(|answer| {
        let location = answer
            .headers()
            .get("location")
            .map(|l| l.to_str().expect("text").to_owned());
        (answer.status().as_u16(), location.unwrap_or_default())
    })
}

/// One header of an answer, or nothing.
fn header(platform: &Platform, root: &[u8], host: &str, name: &str) -> String {
    let root = reqwest::Certificate::from_pem(root).expect("a certificate");
    let client = reqwest::Client::builder()
        .tls_certs_only([root])
        .resolve(host, platform.https)
        .build()
        .expect("a client");
    let sent = wait(async { client.get(platform.url(host, "/echo")).send().await });
    let found = sent
        .ok()
        .and_then(|answer| Some(answer.headers().get(name)?.to_str().ok()?.to_owned()));
    found.unwrap_or_default()
}

pub(crate) fn domain(platform: &Platform, app: &str, host: &str) -> Value {
    platform.get(&format!("/v1/apps/{app}/domains/{host}"))
}

pub(crate) fn until_state(platform: &Platform, app: &str, host: &str, state: &str) -> Value {
    until(&format!("{host} is {state}"), || {
        let found = domain(platform, app, host);
        (found["state"] == state).then_some(found)
    })
}

pub(crate) fn add(platform: &Platform, app: &str, body: &Value) -> Value {
    platform
        .call("POST", &format!("/v1/apps/{app}/domains"), Some(body))
        .expect(201)
}

/// Has the platform look now.
pub(crate) fn recheck(platform: &Platform, app: &str, host: &str) {
    platform
        .call("POST", &format!("/v1/apps/{app}/domains/{host}/check"), None)
        .expect(202);
}

#[test]
fn a_local_name_has_a_certificate_of_the_internal_ca_at_once() {
    let platform = Platform::start();
    with_app(&platform, "local");
    let root = std::fs::read(platform.data().join("ca/root.pem")).expect("a root");
    assert_eq!(visit(&platform, &root, "shop.test"), None, "nobody has it yet");
    let (code, out, err) = platform.cli(&["domains", "add", "Shop.Test.", "-a", "local"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(err.contains("has its certificate"), "{out}{err}");
    let seen = until("it is served", || visit(&platform, &root, "shop.test"));
    assert_eq!(seen, (200, String::new()));
    let found = domain(&platform, "local", "shop.test");
    assert_eq!(found["proof"], "local", "{found}");
    assert_eq!(found["certificate"]["issuer"], "Slipway internal CA", "{found}");
    let (code, out, err) = platform.cli(&["certs"]);
    assert!(
        code == 0 && out.contains("shop.test") && out.contains("*.apps.localhost"),
        "{out}{err}"
    );

    let www = json!({"host": "www.shop.test", "redirect_to": "shop.test"});
    add(&platform, "local", &www);
    let sent_on = until("the other name sends visitors on", || {
        visit(&platform, &root, "www.shop.test")
    });
    assert_eq!(sent_on, (308, platform.url("shop.test", "/echo?a=b")));

    let path = "/v1/apps/local/domains/shop.test";
    let refused = platform.call("DELETE", path, None).expect(409);
    assert!(
        refused["detail"]
            .as_str()
            .expect("text")
            .contains("www.shop.test sends its visitors"),
        "{refused}"
    );
    for host in ["www.shop.test", "shop.test"] {
        let (code, out, err) = platform.cli(&["domains", "remove", host, "-a", "local", "--yes"]);
        assert_eq!(code, 0, "{out}{err}");
    }
    until("nothing is served there", || {
        visit(&platform, &root, "shop.test").is_none().then_some(())
    });
}

#[test]
fn a_domain_goes_from_nothing_in_dns_to_the_padlock() {
    let (platform, authority, names) = public(Manners::default());
    with_app(&platform, "shop");
    let made = add(&platform, "shop", &json!({"host": "shop.example.com"}));
    assert_eq!(made["state"], "pending_dns", "{made}");
    assert_eq!(made["reason"]["code"], "no_such_name", "{made}");
    assert_eq!(made["records"][0]["type"], "A", "{made}");
    assert_eq!(made["records"][0]["value"], "127.0.0.1", "{made}");
    assert_eq!(
        authority.asked("POST /order-plz"),
        0,
        "nothing is ordered while it cannot succeed"
    );

    names.update(&["add shop.example.com. 60 A 127.0.0.1"]);
    let (code, out, err) = platform.cli(&["domains", "check", "shop.example.com", "-a", "shop", "--wait"]);
    assert_eq!(code, 0, "{out}{err}");
    let found = domain(&platform, "shop", "shop.example.com");
    assert_eq!(found["state"], "active", "{found}");
    assert_eq!(found["proof"], "routed", "{found}");
    assert!(
        found["certificate"]["issuer"]
            .as_str()
            .expect("text")
            .contains("Pebble"),
        "{found}"
    );
    assert_eq!(
        visit(&platform, &authority.root_pem(), "shop.example.com").map(|a| a.0),
        Some(200)
    );

    // It moves away: the certificate goes on serving, and what is wrong is said.
    names.update(&["del shop.example.com.", "add shop.example.com. 60 A 192.0.2.7"]);
    recheck(&platform, "shop", "shop.example.com");
    let failing = until_state(&platform, "shop", "shop.example.com", "failing");
    assert_eq!(failing["reason"]["code"], "elsewhere", "{failing}");
    assert_eq!(
        visit(&platform, &authority.root_pem(), "shop.example.com").map(|a| a.0),
        Some(200)
    );
}

/// `SERVED=20 make soak` is what `docs/BENCHMARKS.md` tells of.
#[test]
fn a_name_whose_records_are_there_is_served_without_another_word() {
    let (platform, authority, names) = public(Manners::default());
    with_app(&platform, "soon");
    let root = authority.root_pem();
    let count = std::env::var("CHAOS_SERVED").map_or(2, |n| n.parse().expect("a number"));
    let serve = |n: usize| {
        let host = format!("soon{n}.example.com");
        names.update(&[&format!("add {host}. 60 A 127.0.0.1")]);
        let begun = Instant::now();
        add(&platform, "soon", &json!({"host": host}));
        let seen = until(&format!("{host} is served"), || visit(&platform, &root, &host));
        assert_eq!(seen.0, 200);
        begun.elapsed()
    };
    let mut took: Vec<Duration> = (0..count).map(serve).collect();
    took.sort();
    assert_eq!(authority.asked("POST /order-plz"), count, "one order for each");
    let told = format!(
        "{count} domains added and served with their certificates: median {:.2} s, worst {:.2} s\n",
        took[count / 2].as_secs_f64(),
        took[count - 1].as_secs_f64()
    );
    std::io::stdout().write_all(told.as_bytes()).expect("written");
}

#[test]
fn a_ca_that_refuses_most_nonces_issues_all_the_same() {
    let manners = Manners {
        nonces_refused_percent: 90,
        ..Manners::default()
    };
    let (platform, _authority, names) = public(manners);
    with_app(&platform, "nonces");
    let count = std::env::var("CHAOS_DOMAINS").map_or(4, |n| n.parse().expect("a number"));
    let hosts: Vec<String> = (0..count).map(|n| format!("n{n}.example.com")).collect();
    for host in &hosts {
        names.update(&[&format!("add {host}. 60 A 127.0.0.1")]);
        add(&platform, "nonces", &json!({"host": host}));
    }
    for host in &hosts {
        // One after the other, each with some patience: all at once they are many for a CA that says no nine times.
        until_state(&platform, "nonces", host, "active");
    }
    let orders = platform.sql("select count(*) from acme_ledger where kind = 'order'");
    assert_eq!(orders.trim(), count.to_string(), "one order for each");
}

#[test]
fn an_order_that_was_cut_off_is_gone_on_with_and_not_made_anew() {
    let (platform, authority, names) = public(Manners::default());
    with_app(&platform, "cut");
    // The CA is told to look only when a proxy has the answer: without one the order stays where it is.
    let proxy = platform.child_pid("proxy").expect("a proxy");
    signal(proxy, "STOP");
    names.update(&["add cut.example.com. 60 A 127.0.0.1"]);
    add(&platform, "cut", &json!({"host": "cut.example.com"}));
    until("the order is made", || {
        (platform.sql("select count(*) from acme_challenges").trim() == "1").then_some(())
    });
    signal(platform.child_pid("serve").expect("a control plane"), "KILL");
    signal(proxy, "CONT");
    until("the API answers", || platform.is_ready().then_some(()));
    until_state(&platform, "cut", "cut.example.com", "active");
    assert_eq!(authority.asked("POST /order-plz"), 1, "one order");
    assert_eq!(platform.sql("select count(*) from acme_challenges").trim(), "0");
    assert_eq!(platform.sql("select count(*) from issuances").trim(), "0");
}

#[test]
fn the_second_ca_is_asked_when_the_first_is_down() {
    let names = NameServer::start();
    let mut platform = Platform::prepare(Options::default());
    let authority = Authority::start(&names, &platform, Manners::default());
    for (name, value) in authority.settings(&names) {
        platform.set(name, value);
    }
    let second = platform
        .variables()
        .iter()
        .find_map(|(name, value)| (name == "SLIPWAY_ACME_DIRECTORY").then(|| value.clone()))
        .expect("set above");
    let nobody = crate::nameserver::free_port();
    platform.set(
        "SLIPWAY_ACME_DIRECTORY",
        format!("https://127.0.0.1:{nobody}/dir,{second}"),
    );
    platform.up();
    with_app(&platform, "second");
    names.update(&["add second.example.com. 60 A 127.0.0.1"]);
    add(&platform, "second", &json!({"host": "second.example.com"}));
    until_state(&platform, "second", "second.example.com", "active");
    assert_eq!(
        visit(&platform, &authority.root_pem(), "second.example.com").map(|a| a.0),
        Some(200)
    );
}

#[test]
fn f56_a_certificate_that_cannot_be_renewed_goes_on_serving_and_somebody_is_told_in_time() {
    let (platform, authority, names) = public(Manners::default());
    with_app(&platform, "ends");
    names.update(&["add ends.example.com. 60 A 127.0.0.1"]);
    add(&platform, "ends", &json!({"host": "ends.example.com"}));
    until_state(&platform, "ends", "ends.example.com", "active");
    names.update(&["del ends.example.com. A", "add ends.example.com. 60 A 192.0.2.7"]);
    recheck(&platform, "ends", "ends.example.com");
    until_state(&platform, "ends", "ends.example.com", "failing");
    let firing = || platform.get("/v1/alerts?state=firing")["items"].clone();
    assert_eq!(firing(), json!([]), "there is time");
    let of = "where names = array['ends.example.com']";
    platform.sql(&format!(
        "update certificates set not_before = now() - interval '83 days', not_after = now() + interval '6 days 12 hours', \
         renew_at = now() - interval '1 day' {of}"
    ));
    recheck(&platform, "ends", "ends.example.com");
    let told = until("somebody is told", || firing().get(0).cloned());
    assert_eq!(told["kind"], "certificate_expiring", "{told}");
    let message = told["message"].as_str().expect("text");
    assert!(
        message.contains("ends.example.com ends within 7 days") && message.contains("192.0.2.7"),
        "{message}"
    );
    assert_eq!(
        visit(&platform, &authority.root_pem(), "ends.example.com").map(|a| a.0),
        Some(200)
    );

    names.update(&["del ends.example.com. A", "add ends.example.com. 60 A 127.0.0.1"]);
    recheck(&platform, "ends", "ends.example.com");
    until("it is over", || (firing() == json!([])).then_some(()));
    let renewed = until_state(&platform, "ends", "ends.example.com", "active");
    assert_eq!(renewed["reason"], Value::Null, "{renewed}");
    assert_eq!(authority.asked("POST /order-plz"), 2, "the first one and the renewal");
}

#[test]
fn signatures_are_checked_up_to_the_root_and_a_broken_chain_is_told_and_stops_the_order() {
    let names = NameServer::signed();
    let mut platform = Platform::prepare(Options::default());
    let authority = Authority::start(&names, &platform, Manners::default());
    for (name, value) in authority.settings(&names) {
        platform.set(name, value);
    }
    platform.set("SLIPWAY_DNS_TRUST_ANCHOR", names.trust_anchor().display().to_string());
    platform.up();
    with_app(&platform, "signed");
    names.update(&["add signed.example.com. 60 A 127.0.0.1"]);
    let said = |dnssec: &str| {
        until(&format!("it is {dnssec}"), || {
            let found = platform.get("/v1/apps/signed/domains/signed.example.com/check");
            (found["dnssec"] == dnssec).then_some(found)
        })
    };
    // The parent vouches for another key.
    let ds = names.ds();
    let tag = ds.split_whitespace().next().expect("a tag");
    let wrong = format!("add example.com. 60 DS {tag} 13 2 {}", "ab".repeat(32));
    names.update_zone(".", &[&wrong]);
    let made = add(&platform, "signed", &json!({"host": "signed.example.com"}));
    assert_eq!(made["dnssec"], "bogus", "{made}");
    assert_eq!(made["reason"]["code"], "dnssec_bogus", "{made}");
    let detail = made["reason"]["detail"].as_str().expect("text");
    assert!(
        detail.contains(&format!("(key tag {tag}) fits none of the keys")),
        "{detail}"
    );
    assert_eq!(authority.asked("POST /order-plz"), 0);
    // It vouches for none.
    names.update_zone(".", &["del example.com. DS"]);
    said("insecure");
    // It vouches for the right one.
    names.update_zone(".", &[&format!("add example.com. 60 DS {ds}")]);
    let found = said("secure");
    assert_ne!(found["reason"]["code"], "dnssec_bogus", "{found}");
    recheck(&platform, "signed", "signed.example.com");
    until_state(&platform, "signed", "signed.example.com", "active");
}

#[test]
fn where_port_80_is_shut_the_ca_is_answered_in_a_tls_handshake() {
    let manners = Manners {
        no_http: true,
        ..Manners::default()
    };
    let (platform, authority, names) = public(manners);
    with_app(&platform, "shut");
    names.update(&["add shut.example.com. 60 A 127.0.0.1"]);
    add(&platform, "shut", &json!({"host": "shut.example.com"}));
    let failing = until_state(&platform, "shut", "shut.example.com", "failing");
    assert_eq!(failing["reason"]["code"], "ca_cannot_reach", "{failing}");
    let detail = failing["reason"]["detail"].as_str().expect("text");
    assert!(detail.contains("connection refused"), "in the CA's own words: {detail}");
    assert!(failing["certificate"]["next_try"].is_string(), "{failing}");
    platform.sql("update issuances set next_try_at = now()");
    recheck(&platform, "shut", "shut.example.com");
    until_state(&platform, "shut", "shut.example.com", "active");
    assert_eq!(
        visit(&platform, &authority.root_pem(), "shut.example.com").map(|a| a.0),
        Some(200)
    );
}

#[test]
fn f57_an_account_that_the_ca_does_not_know_any_more_is_made_anew() {
    let (platform, authority, names) = public(Manners::default());
    with_app(&platform, "anew");
    names.update(&[
        "add one.example.com. 60 A 127.0.0.1",
        "add two.example.com. 60 A 127.0.0.1",
    ]);
    add(&platform, "anew", &json!({"host": "one.example.com"}));
    until_state(&platform, "anew", "one.example.com", "active");
    let before = platform.sql("select account_url from acme_accounts");
    let authority = authority.started_anew();
    add(&platform, "anew", &json!({"host": "two.example.com"}));
    until_state(&platform, "anew", "two.example.com", "active");
    assert_ne!(platform.sql("select account_url from acme_accounts"), before);
    assert_eq!(authority.asked("POST /sign-me-up"), 1);
    let accounts = platform.sql("select count(*) from acme_accounts");
    assert_eq!(accounts.trim(), "1");
}

/// The same holds for a certificate: proxies have copies, and one that lost its own gets another certificate.
#[test]
fn f57_a_certificate_whose_key_is_lost_is_replaced_when_a_proxy_asks_for_it() {
    let platform = Platform::start();
    let in_use =
        || platform.sql("select id from certificates where names @> array['*.apps.localhost'] and replaced_at is null");
    let lost = in_use();
    platform.sql("update certificates set sealed_key = '\\x00'");
    let log = platform.log();
    let (_, rest) = log.split_once("\"certificate\":\"").expect("one was issued");
    let id = rest.split('"').next().expect("its identifier");
    let socket = platform.data().join("control.sock");
    let url = format!("http://control/internal/v1/certificates/{id}");
    let asked = std::process::Command::new("curl")
        .args([
            "--silent",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
            "--unix-socket",
        ])
        .arg(socket)
        .arg(url)
        .output()
        .expect("curl runs");
    assert_eq!(String::from_utf8_lossy(&asked.stdout), "500");
    until("another one is in use", || (in_use() != lost).then_some(()));
    assert!(
        platform.log().contains("certificate.key_unusable"),
        "{}",
        platform.log()
    );
}

/// The proof that there is no name between two others (NSEC, RFC 4034 section 4) looks different where a wildcard answers.
#[test]
fn f58_a_signed_zone_with_a_wildcard_is_not_called_forged() {
    let names = NameServer::signed();
    names.update_zone(".", &[&format!("add example.com. 60 DS {}", names.ds())]);
    names.update(&[
        "add *.example.com. 60 A 127.0.0.1",
        "add ex.example.com. 60 A 127.0.0.1",
    ]);
    let validating = Resolver::validating(&names);
    for (resolver, is_secure) in [(names.address(), false), (validating.address(), true)] {
        let mut platform = Platform::prepare(Options::default());
        platform.set("SLIPWAY_DNS_RESOLVERS", resolver);
        platform.set("SLIPWAY_PUBLIC_ADDRESSES", "127.0.0.1".into());
        platform.set("SLIPWAY_DNS_TRUST_ANCHOR", names.trust_anchor().display().to_string());
        platform.up();
        with_app(&platform, "wild");
        for host in ["*.example.com", "zed.example.com", "ex.example.com"] {
            let made = add(&platform, "wild", &json!({"host": host}));
            assert_ne!(made["dnssec"], "bogus", "{made}");
            assert!(!is_secure || made["dnssec"] == "secure", "{made}");
        }
    }
}

#[test]
fn f58_a_broken_chain_is_told_behind_a_server_that_checks_signatures_itself() {
    let names = NameServer::signed();
    let ds = names.ds();
    let tag = ds.split_whitespace().next().expect("a tag");
    names.update_zone(
        ".",
        &[&format!("add example.com. 60 DS {tag} 13 2 {}", "ab".repeat(32))],
    );
    names.update(&["add forged.example.com. 60 A 127.0.0.1"]);
    let validating = Resolver::validating(&names);
    let mut platform = Platform::prepare(Options::default());
    platform.set("SLIPWAY_DNS_RESOLVERS", validating.address());
    platform.set("SLIPWAY_PUBLIC_ADDRESSES", "127.0.0.1".into());
    platform.set("SLIPWAY_DNS_TRUST_ANCHOR", names.trust_anchor().display().to_string());
    platform.up();
    with_app(&platform, "forged");
    let made = add(&platform, "forged", &json!({"host": "forged.example.com"}));
    assert_eq!(
        (&made["dnssec"], &made["reason"]["code"]),
        (&json!("bogus"), &json!("dnssec_bogus")),
        "{made}"
    );
    let detail = made["reason"]["detail"].as_str().expect("text");
    assert!(
        detail.contains(&format!("(key tag {tag}) fits none of the keys")),
        "{detail}"
    );
}

#[test]
fn f56_a_key_for_an_account_that_the_ca_does_not_take_is_told_as_such() {
    let manners = Manners {
        wants_key: true,
        ..Manners::default()
    };
    let names = NameServer::start();
    let mut platform = Platform::prepare(Options::default());
    let authority = Authority::start(&names, &platform, manners);
    for (name, value) in authority.settings(&names) {
        platform.set(name, value);
    }
    platform.set(
        "SLIPWAY_ACME_EAB",
        format!("127.0.0.1=kid-1:{}", "d3Jvbmcta2V5LXdyb25nLWtleS13cm9uZy1rZXktd3I"),
    );
    platform.up();
    with_app(&platform, "keyed");
    names.update(&["add keyed.example.com. 60 A 127.0.0.1"]);
    add(&platform, "keyed", &json!({"host": "keyed.example.com"}));
    let failing = until_state(&platform, "keyed", "keyed.example.com", "failing");
    assert_eq!(failing["reason"]["code"], "ca_needs_account", "{failing}");
}

/// Unbound says of a circle only that it failed.
#[test]
fn f58_a_circle_of_aliases_is_seen_behind_a_server_that_follows_them_itself() {
    let names = NameServer::start();
    let resolver = Resolver::start(&names);
    let mut platform = Platform::prepare(Options::default());
    platform.set("SLIPWAY_DNS_RESOLVERS", resolver.address());
    platform.up();
    with_app(&platform, "circle");
    names.update(&[
        "add loop.example.com. 60 CNAME back.example.com.",
        "add back.example.com. 60 CNAME loop.example.com.",
    ]);
    let made = add(&platform, "circle", &json!({"host": "loop.example.com"}));
    assert_eq!(made["reason"]["code"], "cname_loop", "{made}");
}

#[test]
fn an_alias_that_leads_nowhere_or_in_a_circle_is_told_as_such() {
    let (platform, _authority, names) = public(Manners::default());
    with_app(&platform, "alias");
    names.update(&[
        "add loop.example.com. 60 CNAME back.example.com.",
        "add back.example.com. 60 CNAME loop.example.com.",
        "add dead.example.com. 60 CNAME missing.example.com.",
    ]);
    for (host, code) in [
        ("loop.example.com", "cname_loop"),
        ("dead.example.com", "alias_to_nothing"),
    ] {
        let made = add(&platform, "alias", &json!({"host": host}));
        assert_eq!(made["reason"]["code"], code, "{made}");
    }
    let (code, _, err) = platform.cli(&[
        "domains",
        "rm",
        "loop.example.com",
        "-a",
        "alias",
        "-e",
        "staging",
        "--yes",
    ]);
    assert!(code == 1 && err.contains("leads to alias/production"), "{err}");
}

#[test]
fn browsers_are_told_to_remember_for_longer_after_each_clean_renewal_only() {
    let platform = Platform::start();
    with_app(&platform, "ramp");
    add(&platform, "ramp", &json!({"host": "ramp.test"}));
    until_state(&platform, "ramp", "ramp.test", "active");
    let (code, out, err) = platform.cli(&["domains", "hsts", "ramp.test", "on", "-a", "ramp"]);
    assert!(
        code == 0 && out.contains("Strict-Transport-Security: max-age=300"),
        "{out}{err}"
    );
    let hsts = || domain(&platform, "ramp", "ramp.test")["hsts"].clone();
    // The step is old enough; the certificate was not renewed since.
    let age = |days: u32| {
        platform.sql(&format!(
            "update custom_domains set hsts_since = now() - interval '{days} days'"
        ))
    };
    let renew = |failures: u32| {
        let certificate = "certificates where names = array['ramp.test'] and replaced_at is null";
        let before = platform.sql(&format!("select id::text from {certificate}"));
        platform.sql(
            "update certificates set renew_at = now() - interval '1 hour' where names = array['ramp.test']; \
                      notify slipway_domains",
        );
        until("it is renewed", || {
            (platform.sql(&format!("select id::text from {certificate}")) != before).then_some(())
        });
        platform.sql(&format!(
            "update certificates set failures = {failures} where replaced_at is null; notify slipway_domains"
        ));
    };
    platform.sql("update certificates set created_at = now() - interval '2 years' where names = array['ramp.test']");
    age(400);
    platform.sql("notify slipway_domains");
    assert_eq!(hsts()["max_age_seconds"], 300, "no renewal, no step");
    for (days, next) in [(2, 86_400), (8, 2_592_000), (31, 31_536_000)] {
        age(days);
        renew(0);
        until("the next step is taken", || {
            (hsts()["max_age_seconds"] == next).then_some(())
        });
    }
    let root = std::fs::read(platform.data().join("ca/root.pem")).expect("a root");
    let header = until("visitors are told", || {
        let seen = header(&platform, &root, "ramp.test", "strict-transport-security");
        (seen == "max-age=31536000").then_some(seen)
    });
    assert_eq!(header, "max-age=31536000");
    let (code, out, err) = platform.cli(&["domains", "hsts", "ramp.test", "off", "-a", "ramp"]);
    assert!(code == 0 && out.contains("may insist on HTTPS until"), "{out}{err}");
    until("visitors are told to forget", || {
        (self::header(&platform, &root, "ramp.test", "strict-transport-security") == "max-age=0").then_some(())
    });
}

#[test]
fn a_visitors_own_name_is_served_when_one_app_alone_says_that_it_serves_it() {
    let (platform, authority, names) = public(Manners::default());
    platform.log_in_to_registry();
    let asked = |domains: &str| {
        let mut spec = spec();
        spec["env"] = json!({"DOMAINS": domains});
        spec["on_demand_tls"] = json!({"ask": "/ask"});
        spec
    };
    for (app, domains) in [
        ("sites", "one.example.com both.example.com lost.example.com"),
        ("pages", "both.example.com"),
    ] {
        platform.app(app, &asked(domains));
        platform.deploy(app, "1").expect(200);
    }
    let root = authority.root_pem();
    for host in ["one", "two", "both"] {
        names.update(&[&format!("add {host}.example.com. 60 A 127.0.0.1")]);
    }
    // The first handshake waits for the certificate.
    let seen = visit(&platform, &root, "one.example.com");
    assert_eq!(seen, Some((200, String::new())), "{}", platform.log());
    let found = domain(&platform, "sites", "one.example.com");
    assert_eq!(
        (&found["state"], &found["on_demand"], &found["created_by"]),
        (&json!("active"), &json!(true), &json!("a visitor")),
        "{found}"
    );
    let orders = authority.asked("POST /order-plz");
    for host in [
        "two.example.com",
        "both.example.com",
        "x.apps.localhost.example",
        "lost.example.com",
    ] {
        assert_eq!(visit(&platform, &root, host), None, "{host}");
    }
    assert_eq!(authority.asked("POST /order-plz"), orders);
    assert!(platform.log().contains("on_demand.unclear"), "{}", platform.log());
    assert!(
        platform.log().contains("on_demand.leads_elsewhere"),
        "{}",
        platform.log()
    );
    for app in ["sites", "pages"] {
        let all = platform.get(&format!("/v1/apps/{app}/domains"));
        let count = all["items"].as_array().expect("a list").len();
        assert_eq!(count, usize::from(app == "sites"), "{all}");
    }
    let recorded = platform.get("/v1/audit?action=domain.create");
    assert_eq!(recorded["items"][0]["actor"]["type"], "platform", "{recorded}");

    // Once it leads elsewhere and has no certificate any more it is nobody's again.
    names.update(&["del one.example.com. A", "add one.example.com. 60 A 192.0.2.1"]);
    recheck(&platform, "sites", "one.example.com");
    until_state(&platform, "sites", "one.example.com", "failing");
    platform.sql(
        "update custom_domains set created_at = created_at - interval '2 hours';
         update certificates set not_before = now() - interval '2 days', not_after = now() - interval '1 day'
         where names = array['one.example.com']",
    );
    until("it is forgotten", || {
        let all = platform.get("/v1/apps/sites/domains");
        all["items"].as_array().expect("a list").is_empty().then_some(())
    });
}
