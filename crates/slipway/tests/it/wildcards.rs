//! Names that a CA checks in DNS: wildcards, the base domain, and what is behind something else.

use serde_json::{Value, json};

use crate::authority::{Authority, Manners};
use crate::domains::{add, domain, public, recheck, until_state, visit, with_app};
use crate::nameserver::{NameServer, Resolver, TSIG_KEY, TSIG_NAME};
use crate::platform::{Options, Platform, until};

fn tsig(names: &NameServer) -> Value {
    json!({"provider": "rfc2136", "settings": {"server": names.address(), "key_name": TSIG_NAME, "key": TSIG_KEY}})
}

/// Lets the platform change a zone of its own.
fn let_in(platform: &Platform, zone: &str, access: &Value) {
    platform
        .call("PUT", &format!("/v1/dns/{zone}?platform=true"), Some(access))
        .expect(200);
}

/// What proves a domain, by what was said when it was added.
fn proof_of(made: &Value) -> String {
    let records = made["records"].as_array().expect("records");
    let text = records.iter().find(|r| r["type"] == "TXT").expect("a TXT record");
    text["value"].as_str().expect("text").to_owned()
}

#[test]
fn a_wildcard_says_what_it_needs_and_then_serves_every_name_below_it() {
    let (platform, authority, names) = public(Manners::default());
    with_app(&platform, "wild");
    let made = add(&platform, "wild", &json!({"host": "*.shop.example.com"}));
    assert_eq!(made["state"], "pending_dns", "{made}");
    let proof = proof_of(&made);
    names.update(&[
        "add *.shop.example.com. 60 A 127.0.0.1",
        &format!("add _slipway-challenge.shop.example.com. 60 TXT \"{proof}\""),
    ]);
    recheck(&platform, "wild", "*.shop.example.com");
    let told = until("it says what it needs", || {
        let found = domain(&platform, "wild", "*.shop.example.com");
        (found["reason"]["code"] == "dns01_needed").then_some(found)
    });
    let hint = told["reason"]["hint"].as_str().expect("text");
    assert!(hint.contains("slipway dns set example.com"), "{told}");
    assert_eq!(
        authority.asked("POST /order-plz"),
        0,
        "nothing is ordered that cannot succeed"
    );

    // As an operator would: the key is read from standard input.
    let address = names.address();
    let set = ["dns", "set", "example.com", "--platform", "--provider", "rfc2136"];
    let with = [format!("server={address}"), format!("key_name={TSIG_NAME}")];
    let args: Vec<&str> = set.into_iter().chain(["--set", &with[0], "--set", &with[1]]).collect();
    let (code, out, err) = platform.cli_with(&args, TSIG_KEY);
    assert_eq!(code, 0, "{out}{err}");
    let (code, out, err) = platform.cli(&["dns", "check", "example.com", "--platform"]);
    assert!(
        code == 0 && out.contains("Records can be made in example.com."),
        "{out}{err}"
    );
    let found = until_state(&platform, "wild", "*.shop.example.com", "active");
    assert_eq!(found["proof"], "txt", "{found}");
    let root = authority.root_pem();
    for host in ["a.shop.example.com", "b.shop.example.com"] {
        let seen = until("it is served", || visit(&platform, &root, host));
        assert_eq!(seen, (200, String::new()), "{host}");
    }
    assert_eq!(visit(&platform, &root, "shop.example.com"), None);
    assert_eq!(visit(&platform, &root, "a.b.shop.example.com"), None);
    let left = until("the answer is taken back", || {
        let left = names.records("_acme-challenge.shop.example.com", "TXT");
        left.is_empty().then_some(left)
    });
    assert_eq!(left, "");
    assert_eq!(names.records("_slipway-check.example.com", "TXT"), "");
}

#[test]
fn an_alias_lets_the_platform_answer_in_a_zone_of_its_own_and_nobody_elses_label_is_written() {
    let names = NameServer::start();
    let resolver = Resolver::start(&names);
    let mut platform = Platform::prepare(Options::default());
    let authority = Authority::asking(resolver.address(), &platform, Manners::default());
    for (name, value) in authority.settings(&names) {
        platform.set(name, value);
    }
    platform.up();
    with_app(&platform, "alias");
    let mut access = tsig(&names);
    access["delegation"] = true.into();
    let_in(&platform, "acme.example.net", &access);
    let made = add(&platform, "alias", &json!({"host": "*.shop.example.com"}));
    let records = made["records"].as_array().expect("records");
    let alias = records.iter().find(|r| r["group"] == "challenge").expect("an alias");
    assert_eq!(alias["name"], "_acme-challenge.shop.example.com", "{made}");
    let target = alias["value"].as_str().expect("text").to_owned();
    let proof = proof_of(&made);
    names.update(&[
        "add *.shop.example.com. 60 A 127.0.0.1",
        &format!("add _slipway-challenge.shop.example.com. 60 TXT \"{proof}\""),
        "add _acme-challenge.shop.example.com. 60 CNAME somebody.acme.example.net.",
    ]);
    recheck(&platform, "alias", "*.shop.example.com");
    until("another's label is no way", || {
        let found = domain(&platform, "alias", "*.shop.example.com");
        (found["reason"]["code"] == "dns01_needed").then_some(())
    });
    assert_eq!(authority.asked("POST /order-plz"), 0);
    names.update(&[
        "del _acme-challenge.shop.example.com. CNAME",
        &format!("add _acme-challenge.shop.example.com. 60 CNAME {target}."),
    ]);
    recheck(&platform, "alias", "*.shop.example.com");
    until_state(&platform, "alias", "*.shop.example.com", "active");
    let root = authority.root_pem();
    until("it is served", || visit(&platform, &root, "a.shop.example.com"));
}

#[test]
fn a_new_app_below_a_base_domain_whose_zone_may_be_changed_costs_no_order() {
    let names = NameServer::start();
    let mut platform = Platform::prepare(Options::default());
    let authority = Authority::start(&names, &platform, Manners::default());
    for (name, value) in authority.settings(&names) {
        platform.set(name, value);
    }
    platform.set("SLIPWAY_BASE_DOMAIN", "apps.example.com".into());
    platform.up();
    with_app(&platform, "one");
    let reason = until("it is said what is missing", || {
        let all = platform.get("/v1/certificates")["items"].clone();
        all.as_array()?
            .iter()
            .find_map(|c| c["reason"]["hint"].as_str().map(str::to_owned))
    });
    assert_eq!(reason, "Make the record one.apps.example.com A 127.0.0.1.");
    names.update(&["add *.apps.example.com. 60 A 127.0.0.1"]);
    let (code, out, err) = platform.cli(&["certs", "renew", "one.apps.example.com"]);
    assert_eq!(code, 0, "it need not be waited for: {out}{err}");
    let root = authority.root_pem();
    // Without a way into the zone each app has a certificate of its own.
    until("the first app is served", || {
        visit(&platform, &root, "one.apps.example.com")
    });
    assert_eq!(authority.asked("POST /order-plz"), 1);
    let_in(&platform, "example.com", &tsig(&names));
    let listed = || {
        let all = platform.get("/v1/certificates")["items"].clone();
        let all = all.as_array().expect("a list").clone();
        all.iter()
            .map(|c| {
                c["names"]
                    .as_array()
                    .expect("names")
                    .iter()
                    .filter_map(Value::as_str)
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect::<Vec<_>>()
    };
    until("one certificate has taken the place of each app's own", || {
        (listed() == ["*.apps.example.com apps.example.com"]).then_some(())
    });
    let orders = authority.asked("POST /order-plz");
    with_app(&platform, "two");
    until("the second app is served", || {
        visit(&platform, &root, "two.apps.example.com")
    });
    until("and the first one still", || {
        visit(&platform, &root, "one.apps.example.com")
    });
    assert_eq!(
        authority.asked("POST /order-plz"),
        orders,
        "the second app cost no order"
    );
}

#[test]
fn a_program_of_the_operators_changes_zones_that_no_provider_is_known_for() {
    let names = NameServer::start();
    let mut platform = Platform::prepare(Options::default());
    let authority = Authority::start(&names, &platform, Manners::default());
    for (name, value) in authority.settings(&names) {
        platform.set(name, value);
    }
    let hook = names.hook();
    platform.set("SLIPWAY_DNS_HOOK", hook.display().to_string());
    platform.up();
    with_app(&platform, "hooked");
    let_in(&platform, "example.com", &json!({"provider": "exec"}));
    let made = add(&platform, "hooked", &json!({"host": "*.hook.example.com"}));
    let proof = proof_of(&made);
    names.update(&[
        "add *.hook.example.com. 60 A 127.0.0.1",
        &format!("add _slipway-challenge.hook.example.com. 60 TXT \"{proof}\""),
    ]);
    recheck(&platform, "hooked", "*.hook.example.com");
    until_state(&platform, "hooked", "*.hook.example.com", "active");
    // One that fails is quoted.
    std::fs::write(&hook, "#!/bin/sh\necho the zone is locked >&2\nexit 7\n").expect("written");
    let (code, out, err) = platform.cli(&["dns", "check", "example.com", "--platform"]);
    assert!(
        code == 1 && out.contains("exit status: 7: the zone is locked"),
        "{out}{err}"
    );
    let listed = platform.get("/v1/dns?platform=true");
    let error = listed["items"][0]["error"].as_str().expect("kept").to_owned();
    assert!(error.contains("the zone is locked"), "{listed}");
}
