//! What people do with certificates: bring one along, have one replaced, taken back, tried out; visitors who show one.

use serde_json::{Value, json};

use crate::authority::{Authority, Manners};
use crate::domains::{add, domain, public, recheck, until_state, visit, with_app};
use crate::front::Front;
use crate::nameserver::NameServer;
use crate::platform::{Options, Platform, until};

/// The certificate in use for a name, as the database has it.
fn in_use(platform: &Platform, host: &str, column: &str) -> String {
    let found = platform.sql(&format!(
        "select {column}::text from certificates where names = array['{host}'] and replaced_at is null"
    ));
    found.trim().to_owned()
}

fn active(platform: &Platform, names: &NameServer, app: &str, host: &str) {
    names.update(&[&format!("add {host}. 60 A 127.0.0.1")]);
    add(platform, app, &json!({"host": host}));
    recheck(platform, app, host);
    until_state(platform, app, host, "active");
}

#[test]
fn a_certificate_of_ones_own_is_served_until_it_is_given_up() {
    let (platform, authority, names) = public(Manners::default());
    with_app(&platform, "own");
    active(&platform, &names, "own", "own.example.com");
    let orders = authority.asked("POST /order-plz");
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name).display().to_string();
    let pair = rcgen::generate_simple_self_signed(vec!["own.example.com".into()]).expect("a pair");
    std::fs::write(at("cert"), pair.cert.pem()).expect("written");
    std::fs::write(at("key"), pair.signing_key.serialize_pem()).expect("written");
    let other = rcgen::KeyPair::generate().expect("a key");
    std::fs::write(at("other"), other.serialize_pem()).expect("written");
    let upload = |key: &str| {
        platform.cli(&[
            "certs",
            "upload",
            "--cert",
            &at("cert"),
            "--key",
            &at(key),
            "own.example.com",
            "-a",
            "own",
        ])
    };
    let (code, out, err) = upload("other");
    assert!(code == 1 && err.contains("another certificate's"), "{out}{err}");
    let (code, out, err) = upload("key");
    assert!(code == 0 && err.contains("nothing renews it"), "{out}{err}");
    let own_root = pair.cert.pem().into_bytes();
    let seen = until("it is served", || visit(&platform, &own_root, "own.example.com"));
    assert_eq!(seen.0, 200);
    let found = domain(&platform, "own", "own.example.com");
    assert_eq!(
        (&found["state"], &found["certificate"]["uploaded"]),
        (&json!("active"), &json!(true)),
        "{found}"
    );
    assert_eq!(
        authority.asked("POST /order-plz"),
        orders,
        "nothing is ordered beside it"
    );
    let (code, _, err) = platform.cli(&["certs", "renew", "own.example.com"]);
    assert!(code == 1 && err.contains("certs give-up own.example.com"), "{err}");
    let (code, out, err) = platform.cli(&["certs", "give-up", "own.example.com", "-a", "own"]);
    assert_eq!(code, 0, "{out}{err}");
    let root = authority.root_pem();
    until("an ordered one takes its place", || {
        visit(&platform, &root, "own.example.com")
    });
}

#[test]
fn what_a_ca_does_not_take_back_is_told_and_not_asked_for_ever() {
    let (platform, authority, names) = public(Manners::default());
    with_app(&platform, "kept");
    active(&platform, &names, "kept", "kept.example.com");
    // It has never issued that.
    let _authority = authority.started_anew();
    let (code, out, err) = platform.cli(&["certs", "revoke", "kept.example.com", "--immediately", "--yes"]);
    assert_eq!(code, 0, "{out}{err}");
    let told = until("the CA has said no", || {
        platform.sql("update certificates set revoke_at = now() where revoke_at > now()");
        let all = platform.get("/v1/certificates");
        let all = all["items"].as_array().expect("certificates").clone();
        all.into_iter()
            .find(|c| c["revocation_error"]["code"] == "not_revoked" && c["revoke_at"].is_null())
    });
    let detail = told["revocation_error"]["detail"].as_str().expect("text");
    assert!(detail.contains("did not take it back"), "{told}");
    let (_, out, _) = platform.cli(&["certs"]);
    assert!(out.contains("did not take it back"), "{out}");
}

#[test]
fn a_certificate_is_replaced_at_once_and_the_old_one_taken_back_when_the_new_one_is_there() {
    let (platform, authority, names) = public(Manners::default());
    with_app(&platform, "fresh");
    active(&platform, &names, "fresh", "fresh.example.com");
    let first = in_use(&platform, "fresh.example.com", "id");
    let (code, out, err) = platform.cli(&["certs", "renew", "fresh.example.com", "-a", "fresh"]);
    assert_eq!(code, 0, "{out}{err}");
    let second = until("another one is there", || {
        let now = in_use(&platform, "fresh.example.com", "id");
        (now != first).then_some(now)
    });
    assert_eq!(authority.asked("POST /revoke-cert"), 0);
    let revoke = [
        "certs",
        "revoke",
        "fresh.example.com",
        "--reason",
        "key-compromise",
        "--yes",
        "-a",
        "fresh",
    ];
    let (code, out, err) = platform.cli(&revoke);
    assert_eq!(code, 0, "{out}{err}");
    until("the CA has taken the old one back", || {
        let revoked = platform.sql(&format!(
            "select revoked_at is not null from certificates where id = '{second}'"
        ));
        (revoked.trim() == "t").then_some(())
    });
    assert_eq!(authority.asked("POST /revoke-cert"), 1);
    assert_ne!(
        in_use(&platform, "fresh.example.com", "id"),
        second,
        "another one was there before"
    );
    until_state(&platform, "fresh", "fresh.example.com", "active");
    // The account goes on with another key.
    let account = "select account_url || encode(sealed_credentials, 'hex') from acme_accounts";
    let before = platform.sql(account);
    let (code, out, err) = platform.cli(&["certs", "roll-account-keys"]);
    assert_eq!(code, 0, "{out}{err}");
    until("the key is another one", || {
        (platform.sql(account) != before).then_some(())
    });
    assert_eq!(authority.asked("POST /rollover-account-key"), 1);
    let third = in_use(&platform, "fresh.example.com", "id");
    platform.cli(&["certs", "renew", "fresh.example.com", "-a", "fresh"]);
    until("the account still orders", || {
        (in_use(&platform, "fresh.example.com", "id") != third).then_some(())
    });
}

#[test]
fn an_order_is_tried_out_elsewhere_and_says_what_a_real_one_would() {
    let names = NameServer::start();
    let mut platform = Platform::prepare(Options::default());
    let authority = Authority::start(&names, &platform, Manners::default());
    let staging = Authority::start(&names, &platform, Manners::default());
    for (name, value) in authority.settings(&names) {
        platform.set(name, value);
    }
    platform.set("SLIPWAY_ACME_STAGING", format!("127.0.0.1={}", staging.directory()));
    platform.up();
    with_app(&platform, "tried");
    active(&platform, &names, "tried", "tried.example.com");
    let orders = authority.asked("POST /order-plz");
    let (code, out, err) = platform.cli(&["certs", "try", "tried.example.com", "-a", "tried"]);
    assert!(code == 0 && err.contains("a certificate could be got"), "{out}{err}");
    assert_eq!(
        (staging.asked("POST /order-plz"), authority.asked("POST /order-plz")),
        (1, orders)
    );
    names.update(&["del tried.example.com. A", "add tried.example.com. 60 A 127.0.0.2"]);
    let (code, out, err) = platform.cli(&["certs", "try", "tried.example.com", "-a", "tried"]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.contains("looked and found"), "{out}{err}");
    let trial: Value = platform.get("/v1/apps/tried/domains/tried.example.com/trial");
    assert_eq!(trial["reason"]["code"], "ca_cannot_reach", "{trial}");
}

#[test]
fn visitors_show_a_certificate_where_a_domain_asks_for_one() {
    let platform = Platform::start();
    with_app(&platform, "mutual");
    add(&platform, "mutual", &json!({"host": "mutual.test"}));
    until_state(&platform, "mutual", "mutual.test", "active");
    let root = std::fs::read(platform.data().join("ca/root.pem")).expect("a root");
    until("anybody is let in", || visit(&platform, &root, "mutual.test"));
    let dir = tempfile::tempdir().expect("a directory");
    let ca = dir.path().join("ca.pem").display().to_string();
    std::fs::write(&ca, &root).expect("written");
    let (code, out, err) = platform.cli(&["domains", "client-ca", "mutual.test", "--file", &ca, "-a", "mutual"]);
    assert_eq!(code, 0, "{out}{err}");
    until("who shows nothing is not let in", || {
        visit(&platform, &root, "mutual.test").is_none().then_some(())
    });
    let (code, out, err) = platform.cli(&["domains", "client-ca", "mutual.test", "--off", "-a", "mutual"]);
    assert_eq!(code, 0, "{out}{err}");
    until("anybody is let in again", || visit(&platform, &root, "mutual.test"));
}

#[test]
fn a_certificate_is_replaced_in_the_window_that_its_ca_suggests_and_the_order_says_what_it_replaces() {
    let names = NameServer::start();
    let mut platform = Platform::prepare(Options::default());
    let authority = Authority::start(&names, &platform, Manners::default());
    let now = chrono::Utc::now();
    let days = |n: i64| now + chrono::TimeDelta::days(n);
    let front = Front::start(&authority, (days(30), days(31)));
    for (name, value) in authority.settings(&names) {
        platform.set(name, value);
    }
    platform.set("SLIPWAY_ACME_DIRECTORY", front.directory());
    platform.set("SLIPWAY_ACME_PROFILE", "shortlived".into());
    platform.up();
    with_app(&platform, "window");
    active(&platform, &names, "window", "window.example.com");
    let renew_at = || {
        let all = platform.get("/v1/certificates")["items"].clone();
        let all = all.as_array().expect("a list").clone();
        let one = all
            .iter()
            .find(|c| c["names"][0] == "window.example.com")
            .expect("listed")
            .clone();
        let at = one["renew_at"].as_str().expect("a time").to_owned();
        at.parse::<chrono::DateTime<chrono::Utc>>().expect("a time")
    };
    let planned = renew_at();
    assert!(
        planned >= days(30) - chrono::TimeDelta::seconds(1) && planned <= days(31),
        "{planned}"
    );
    let orders = front.orders();
    assert_eq!(
        (orders.len(), &orders[0]["profile"]),
        (1, &json!("shortlived")),
        "{orders:?}"
    );
    assert_eq!(orders[0].get("replaces"), None);

    // Asked again, with the same window: what was planned stays.
    let ask =
        || platform.sql("update certificates set ari_at = now() where ari_at is not null; notify slipway_domains");
    let asked = front.asked();
    ask();
    until("it is asked again", || (front.asked() > asked).then_some(()));
    assert_eq!(renew_at(), planned);

    // The CA must take its certificates back: it would have them replaced at once.
    front.suggest((days(-2), days(-1)));
    platform.sql("update certificates set created_at = created_at - interval '1 day'");
    ask();
    until("it is ordered anew", || (front.orders().len() == 2).then_some(()));
    let replaces = front.orders()[1]["replaces"].clone();
    assert!(replaces.as_str().is_some_and(|id| id.contains('.')), "{replaces}");
    until("the new one is in use", || {
        let all = platform.sql("select count(*) from certificates where names = array['window.example.com']");
        (all.trim() == "2").then_some(())
    });
    assert_eq!(front.orders().len(), 2);
    until_state(&platform, "window", "window.example.com", "active");
    caa_is_judged_by_what_the_ca_calls_itself(&platform, &names);
}

/// The front says what that is in its directory.
fn caa_is_judged_by_what_the_ca_calls_itself(platform: &Platform, names: &NameServer) {
    names.update(&["add window.example.com. 60 CAA 0 issue \"other.example\""]);
    recheck(platform, "window", "window.example.com");
    let reason = until("CAA forbids it", || {
        let reason = domain(platform, "window", "window.example.com")["reason"].clone();
        (reason["code"] == "caa_forbids").then_some(reason)
    });
    assert!(
        reason["hint"]
            .as_str()
            .expect("text")
            .contains("0 issue \"front.example\""),
        "{reason}"
    );
}

/// In a mount namespace of its own, so that this machine goes on trusting whom it trusted.
#[test]
fn a_machine_is_made_to_trust_the_internal_ca_and_can_be_made_to_forget_it() {
    let platform = Platform::start();
    with_app(&platform, "trusted");
    let (code, out, err) = platform.cli(&["certs", "trust", "--print"]);
    assert_eq!(code, 0, "{out}{err}");
    let root = std::fs::read_to_string(platform.data().join("ca/root.pem")).expect("a root");
    assert_eq!(out.trim(), root.trim());
    let script = "set -e; copy=$(mktemp -d); cp -a /etc/ssl/certs/. $copy; mount -t tmpfs tmpfs /usr/local/share/ca-certificates; \
                  mount --bind $copy /etc/ssl/certs; visit() { curl --silent --output /dev/null --resolve $2 $1 && echo visit 0 || echo visit $?; }; \
                  visit $1 $2; $3 certs trust; visit $1 $2; $3 certs trust --remove; visit $1 $2";
    let url = platform.url("trusted.apps.localhost", "/");
    let resolve = format!("trusted.apps.localhost:{}:127.0.0.1", platform.https.port());
    let mut command = platform.command(&[]);
    let program = command.get_program().to_owned();
    let variables: Vec<_> = command
        .get_envs()
        .filter_map(|(k, v)| Some((k.to_owned(), v?.to_owned())))
        .collect();
    drop(command);
    command = std::process::Command::new("unshare");
    let output = command
        .args(["--mount", "sh", "-c", script, "sh", &url, &resolve])
        .arg(program)
        .envs(variables)
        .env("SLIPWAY_TOKEN", platform.token())
        .output()
        .expect("unshare runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let visits: Vec<&str> = said.lines().filter(|line| line.starts_with("visit ")).collect();
    // 60: the certificate cannot be verified.
    assert_eq!(visits, ["visit 60", "visit 0", "visit 60"], "{said}");
}
