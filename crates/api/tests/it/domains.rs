//! Domains: whose they are, and what is refused.

use serde_json::{Value, json};
use slipway_domain::Clock as _;
use slipway_domain::domains::Proof;
use slipway_domain::ids::TeamId;
use slipway_domain::name::DomainName;

use crate::world::{World, in_world};

const DOMAINS: &str = "/v1/apps/web/domains";

fn host(text: &str) -> DomainName {
    text.parse().expect("a name")
}

/// What the platform does when it found the proof.
async fn prove(world: &World, team: TeamId, name: &str) -> bool {
    let mut tx = world.tx().await;
    let row = tx.custom_domain_of_team(team, &host(name)).await.expect("read");
    let now = row.as_ref().expect("asked for").created_at;
    let proven = tx.prove_domain(row.expect("asked for").id, Proof::Txt, now).await;
    let proven = proven.expect("written");
    tx.commit().await.expect("commits");
    proven
}

/// Another team with an app, and its token.
async fn crew(world: &World) -> (TeamId, String) {
    let team = world.other_team("crew").await;
    let scopes = ["write:app", "read:domain", "write:domain"];
    let token = world.token_of(team, &scopes, json!({})).await;
    let made = world
        .ask("POST", "/v1/apps")
        .token(&token)
        .json(&json!({"name": "other"}))
        .send();
    assert_eq!(made.await.status, 201);
    (team, token)
}

async fn ask(world: &World, token: &str, name: &str) -> crate::client::Answer {
    let body = json!({"host": name});
    world
        .ask("POST", "/v1/apps/other/domains")
        .token(token)
        .json(&body)
        .send()
        .await
}

#[tokio::test]
async fn a_domain_is_added_with_the_records_to_make_and_listed_and_given_up() {
    in_world(async |world| {
        world.post("/v1/apps", json!({"name": "web"})).await;
        let made = world.post(DOMAINS, json!({"host": "Shop.Example.COM."})).await;
        assert_eq!(made.status, 201, "{}", made.text);
        assert_eq!(made.header("location"), "/v1/apps/web/domains/shop.example.com");
        assert_eq!(made.text_at("/state"), "pending_dns");
        assert_eq!(made.text_at("/reason/code"), "no_such_name");
        assert_eq!(made.text_at("/records/0/value"), "203.0.113.10");
        assert_eq!(made.json["certificate"], Value::Null);

        let shown = world.get("/v1/apps/web/domains/shop.example.com").await;
        assert_eq!(
            shown.text_at("/reason/code"),
            "not_checked_yet",
            "the platform has not looked"
        );
        assert_eq!(world.get(DOMAINS).await.column("host"), ["shop.example.com"]);
        let checked = world.get("/v1/apps/web/domains/SHOP.example.com/check").await;
        assert_eq!(checked.text_at("/reason/code"), "no_such_name");
        let again = world
            .ask("POST", "/v1/apps/web/domains/shop.example.com/check")
            .send()
            .await;
        assert_eq!(again.status, 202, "{}", again.text);

        let gone = world.delete("/v1/apps/web/domains/shop.example.com").await;
        assert_eq!(gone.status, 204);
        assert_eq!(
            world.get("/v1/apps/web/domains/shop.example.com").await.code(),
            "not_found"
        );
        let audit = world.get("/v1/audit?action=domain.").await;
        assert_eq!(audit.column("action"), ["domain.delete", "domain.create"]);
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_a_domain_is_refused_with_what_to_do() {
    in_world(async |world| {
        world.post("/v1/apps", json!({"name": "web"})).await;
        for (name, code) in [
            ("shop", "invalid_name"),
            ("", "invalid_name"),
            ("https://shop.example.com/", "invalid_name"),
            ("203.0.113.10", "invalid_name"),
            ("a..example.com", "invalid_name"),
            ("*", "invalid_name"),
            ("*.com", "invalid_name"),
            ("a.*.example.com", "invalid_name"),
            ("co.uk", "invalid_name"),
            ("*.co.uk", "invalid_name"),
            ("*.apps.localhost", "conflict"),
            ("*.localhost", "invalid_name"),
            ("apps.localhost", "conflict"),
            ("other.apps.localhost", "conflict"),
            ("deep.other.apps.localhost", "conflict"),
        ] {
            let answer = world.post(DOMAINS, json!({"host": name})).await;
            assert_eq!(answer.code(), code, "{name}: {}", answer.text);
        }
        let long = format!("{}.example.com", "a.".repeat(130));
        for name in [long, format!("{}.example.com", "a".repeat(64))] {
            let answer = world.post(DOMAINS, json!({"host": name})).await;
            assert_eq!(answer.code(), "invalid_name");
            assert!(answer.text.contains("at most 253 characters"), "{}", answer.text);
        }
        let to_nowhere = json!({"host": "a.example.com", "redirect_to": "b.example.com"});
        let answer = world.post(DOMAINS, to_nowhere).await;
        assert_eq!(
            (answer.code().as_str(), answer.pointers()),
            ("invalid_body", vec!["/redirect_to"])
        );
        assert!(answer.detail().contains("add b.example.com first"), "{}", answer.text);
        assert_eq!(world.post(DOMAINS, json!({"host": "c.example.com"})).await.status, 201);
        for (host, to) in [("*.example.com", "c.example.com"), ("d.example.com", "*.example.com")] {
            let answer = world.post(DOMAINS, json!({"host": host, "redirect_to": to})).await;
            assert_eq!(answer.pointers(), ["/redirect_to"], "{}", answer.text);
        }
        assert_eq!(
            world
                .ask("DELETE", &format!("{DOMAINS}/c.example.com"))
                .send()
                .await
                .status,
            204
        );
        assert_eq!(
            world.get(DOMAINS).await.column("host"),
            [""; 0],
            "nothing half done is left"
        );
    })
    .await;
}

#[tokio::test]
async fn visitors_are_sent_on_once_and_only_inside_the_environment() {
    in_world(async |world| {
        world.post("/v1/apps", json!({"name": "web"})).await;
        let add = async |name: &str, to: &str| world.post(DOMAINS, json!({"host": name, "redirect_to": to})).await;
        assert_eq!(
            world.post(DOMAINS, json!({"host": "www.example.com"})).await.status,
            201
        );
        assert_eq!(add("example.com", "www.example.com").await.status, 201);
        assert_eq!(add("old.example.com", "web.apps.localhost").await.status, 201);
        let chain = add("third.example.com", "example.com").await;
        assert!(
            chain.detail().contains("sends its visitors on itself"),
            "{}",
            chain.text
        );
        let itself = add("self.example.com", "self.example.com").await;
        assert_eq!(itself.pointers(), ["/redirect_to"]);
        // Turned round, one name after the other, and none goes without an answer.
        let set = async |name: &str, to: Value| {
            let body = json!({"redirect_to": to});
            world
                .ask("PATCH", &format!("{DOMAINS}/{name}"))
                .json(&body)
                .send()
                .await
        };
        let first = set("www.example.com", json!("example.com")).await;
        assert!(
            first.code() == "conflict" && first.detail().contains("--no-redirect"),
            "{}",
            first.text
        );
        assert_eq!(set("example.com", Value::Null).await.json["redirect_to"], Value::Null);
        let turned = set("www.example.com", json!("example.com")).await;
        assert_eq!(turned.text_at("/redirect_to"), "example.com");
        assert_eq!(
            set("www.example.com", json!("nobody.example.com")).await.pointers(),
            ["/redirect_to"]
        );
        assert_eq!(
            world
                .ask("PATCH", &format!("{DOMAINS}/example.com"))
                .json(&json!({}))
                .send()
                .await
                .code(),
            "invalid_body"
        );
        assert_eq!(set("www.example.com", Value::Null).await.status, 200);
        assert_eq!(set("example.com", json!("www.example.com")).await.status, 200);
        let needed = world.delete("/v1/apps/web/domains/www.example.com").await;
        assert_eq!(needed.code(), "conflict", "{}", needed.text);
    })
    .await;
}

#[tokio::test]
async fn s53_a_domain_is_one_teams_and_the_others_are_told_no_more_than_that() {
    in_world(async |world| {
        world.post("/v1/apps", json!({"name": "web"})).await;
        let (team, token) = crew(&world).await;
        // Both may ask; the first to prove it has it.
        assert_eq!(
            world.post(DOMAINS, json!({"host": "shop.example.com"})).await.status,
            201
        );
        assert_eq!(ask(&world, &token, "shop.example.com").await.status, 201);
        let mut tx = world.tx().await;
        let others = tx.other_teams(team, &host("shop.example.com")).await.expect("read");
        assert!(others.asks && others.have_a_word() && !others.has_it);
        drop(tx);
        assert!(prove(&world, world.team, "shop.example.com").await);
        assert!(!prove(&world, team, "shop.example.com").await, "it is taken");
        let twice = world.post(DOMAINS, json!({"host": "shop.example.com"})).await;
        assert_eq!(twice.code(), "already_exists");

        let gone = world
            .ask("DELETE", "/v1/apps/other/domains/shop.example.com")
            .token(&token)
            .send()
            .await;
        assert_eq!(gone.status, 204);
        for spelling in ["shop.example.com", "SHOP.example.com.", " shop.example.com"] {
            let refused = ask(&world, &token, spelling).await;
            assert_eq!(refused.code(), "already_exists", "{spelling}");
            assert!(!refused.text.contains("web"), "{}", refused.text);
        }
        // Below another team's name records alone prove nothing.
        let mut tx = world.tx().await;
        let below = tx.other_teams(team, &host("a.shop.example.com")).await.expect("read");
        assert!(below.has_parent && below.have_a_word());
        let own = tx
            .other_teams(world.team, &host("a.shop.example.com"))
            .await
            .expect("read");
        assert!(!own.have_a_word());
        let beside = tx.other_teams(team, &host("ashop.example.com")).await.expect("read");
        assert!(!beside.have_a_word());
        drop(tx);
        // Of the other team's app nothing is to be learnt.
        let foreign = world.ask("GET", DOMAINS).token(&token).send().await;
        assert_eq!(foreign.code(), "not_found");
    })
    .await;
}

#[tokio::test]
async fn s53_a_domain_that_was_given_up_is_nobody_elses_for_a_week_and_never_by_old_records() {
    in_world(async |world| {
        world.post("/v1/apps", json!({"name": "web"})).await;
        let (team, token) = crew(&world).await;
        world.post(DOMAINS, json!({"host": "shop.example.com"})).await;
        assert!(prove(&world, world.team, "shop.example.com").await);
        // However it goes, here with its environment.
        world
            .post("/v1/apps/web/environments", json!({"name": "staging"}))
            .await;
        let staged = json!({"host": "staging.example.com", "environment": "staging"});
        world.post(DOMAINS, staged).await;
        assert!(prove(&world, world.team, "staging.example.com").await);
        world
            .db
            .execute("delete from environments where name = 'staging'")
            .await;
        assert_eq!(world.delete("/v1/apps/web/domains/shop.example.com").await.status, 204);
        world
            .db
            .execute("update released_domains set released_at = '2027-01-15'")
            .await;
        for name in ["shop.example.com", "staging.example.com"] {
            let refused = ask(&world, &token, name).await;
            assert_eq!(refused.code(), "conflict", "{}", refused.text);
            assert!(refused.detail().contains("2027-01-22T00:00:00Z"), "{}", refused.text);
        }
        // Its own team may have it back at once.
        assert_eq!(
            world.post(DOMAINS, json!({"host": "shop.example.com"})).await.status,
            201
        );
        assert_eq!(world.delete("/v1/apps/web/domains/shop.example.com").await.status, 204);

        world.ports.clock.forward_days(8);
        assert_eq!(ask(&world, &token, "shop.example.com").await.status, 201);
        let mut tx = world.tx().await;
        let others = tx.other_teams(team, &host("shop.example.com")).await.expect("read");
        assert!(others.have_a_word(), "old records are no proof");
    })
    .await;
}

#[tokio::test]
async fn all_domains_are_listed_to_whose_they_are_over_all_apps() {
    in_world(async |world| {
        for app in ["web", "shop"] {
            world.post("/v1/apps", json!({"name": app})).await;
        }
        let (_, token) = crew(&world).await;
        for (app, name) in [
            ("web", "b.example.com"),
            ("shop", "*.example.org"),
            ("shop", "a-b.example.com"),
        ] {
            let added = world
                .post(&format!("/v1/apps/{app}/domains"), json!({"host": name}))
                .await;
            assert_eq!(added.status, 201, "{}", added.text);
        }
        ask(&world, &token, "crew.example.com").await;
        let all = world.get("/v1/domains").await;
        assert_eq!(
            all.column("host"),
            ["*.example.org", "a-b.example.com", "b.example.com", "crew.example.com"]
        );
        let mut seen = Vec::new();
        let mut next = "/v1/domains?limit=1".to_owned();
        for _ in 0..4 {
            let page = world.get(&next).await;
            seen.extend(page.column("app"));
            let cursor = page.json["next_cursor"].as_str().unwrap_or_default().to_owned();
            next = format!("/v1/domains?limit=1&cursor={cursor}");
        }
        assert_eq!(seen, ["shop", "shop", "web", "other"]);
        assert_eq!(next, "/v1/domains?limit=1&cursor=", "nothing comes after the last");

        let theirs = world.ask("GET", "/v1/domains").token(&token).send().await;
        assert_eq!(theirs.column("host"), ["crew.example.com"]);
        let of_one_app = world.token(&["read:domain"], json!({"apps": ["web"]})).await;
        let narrow = world.ask("GET", "/v1/domains").token(&of_one_app).send().await;
        assert_eq!(narrow.column("host"), ["b.example.com"]);
        let of_staging = world
            .token(&["read:domain"], json!({"environments": ["staging"]}))
            .await;
        for path in ["/v1/domains", DOMAINS, "/v1/apps/web/domains?environment=production"] {
            let nothing = world.ask("GET", path).token(&of_staging).send().await;
            assert_eq!((nothing.status, nothing.column("host")), (200, vec![]), "{path}");
        }
    })
    .await;
}

#[tokio::test]
async fn certificates_are_listed_to_whose_they_are_with_what_is_being_tried() {
    in_world(async |world| {
        world.post("/v1/apps", json!({"name": "web"})).await;
        let (team, token) = crew(&world).await;
        world.post(DOMAINS, json!({"host": "shop.example.com"})).await;
        ask(&world, &token, "crew.example.com").await;
        assert!(prove(&world, world.team, "shop.example.com").await && prove(&world, team, "crew.example.com").await);
        let error = json!({"code": "ca_budget", "detail": "d", "hint": "h"});
        world
            .db
            .execute(&format!(
                "insert into issuances (names, failures, next_try_at, error, updated_at) values
                 (array['shop.example.com'], 3, now(), '{error}', now()), (array['crew.example.com'], 1, now(), null, now());
                 insert into certificates (id, names, issuer, chain_pem, sealed_key, key_version, not_before, not_after, created_at, renew_at)
                 values ('00000000-0000-7000-8000-000000000001', array['*.apps.localhost'], 'CA', '', '', 1, now(), now(), now(), now())"
            ))
            .await;
        let all = world.get("/v1/certificates").await;
        let names: Vec<&str> = ["/items/0/names/0", "/items/1/names/0", "/items/2/names/0"]
            .map(|at| all.text_at(at))
            .to_vec();
        assert_eq!(names, ["*.apps.localhost", "crew.example.com", "shop.example.com"]);
        assert_eq!(all.json["items"][2]["reason"]["code"], "ca_budget");
        assert_eq!((&all.json["items"][2]["failures"], &all.json["items"][2]["issuer"]), (&json!(3), &Value::Null));
        let theirs = world.ask("GET", "/v1/certificates").token(&token).send().await;
        assert_eq!(theirs.column("app"), ["other"]);

        // Each acts on its own, and the platform's are the administrators'.
        let act = async |token: Option<&str>, name: &str| {
            let call = world.ask("POST", &format!("/v1/certificates/{name}/renew"));
            let call = match token {
                Some(token) => call.token(token),
                None => call,
            };
            call.send().await.status
        };
        assert_eq!(act(Some(&token), "crew.example.com").await, 202);
        for name in ["shop.example.com", "%2A.apps.localhost", "nobodys.example.com"] {
            assert_eq!(act(Some(&token), name).await, 404, "{name}");
        }
        assert_eq!(act(None, "%2A.apps.localhost").await, 202);
        let renewed = world.db.number("select count(*) from certificates where renew_at <= now()").await;
        assert_eq!(renewed, 1);
        let revoked = world
            .post("/v1/certificates/%2A.apps.localhost/revoke", json!({"reason": "key_compromise"}))
            .await;
        assert_eq!(revoked.code(), "conflict", "no CA has issued it: {}", revoked.text);
        // The spacing of attempts: who asks again and again does not bring one forward.
        let tries = async || {
            let soon = "select count(*) from issuances where names[1] = 'shop.example.com' and next_try_at < '2100-01-01'";
            world.db.number(soon).await
        };
        let check = format!("{DOMAINS}/shop.example.com/check");
        world.db.execute("update issuances set next_try_at = '2100-01-01', updated_at = '2099-01-01', error = '{\"code\": \"ca_cannot_reach\", \"detail\": \"d\", \"hint\": \"h\"}'").await;
        world.post(&check, Value::Null).await;
        assert_eq!(tries().await, 0, "the last attempt was just now");
        world.db.execute("update issuances set updated_at = '2001-01-01'").await;
        world.post(&check, Value::Null).await;
        assert_eq!(tries().await, 1);
        let paged = world.get("/v1/certificates?limit=2").await;
        let cursor = paged.text_at("/next_cursor").to_owned();
        let rest = world.get(&format!("/v1/certificates?limit=2&cursor={cursor}")).await;
        assert_eq!(rest.text_at("/items/0/names/0"), "shop.example.com");
    })
    .await;
}

#[tokio::test]
async fn s53_a_wildcard_over_anothers_name_and_a_name_under_anothers_wildcard_need_the_text() {
    in_world(async |world| {
        world.post("/v1/apps", json!({"name": "web"})).await;
        let (team, token) = crew(&world).await;
        assert_eq!(world.post(DOMAINS, json!({"host": "*.example.com"})).await.status, 201);
        assert!(prove(&world, world.team, "*.example.com").await);
        assert_eq!(ask(&world, &token, "shop.example.com").await.status, 201);
        let mut tx = world.tx().await;
        for (name, has_parent) in [
            ("shop.example.com", true),
            ("a.shop.example.com", true),
            ("*.shop.example.com", true),
            ("example.com", false),
        ] {
            let others = tx.other_teams(team, &host(name)).await.expect("read");
            assert_eq!(others.have_a_word(), has_parent, "{name}: {others:?}");
        }
        drop(tx);
        assert_eq!(ask(&world, &token, "*.example.com").await.code(), "already_exists");
    })
    .await;
}

#[tokio::test]
async fn zones_are_stored_without_ever_telling_their_credentials() {
    in_world(async |world| {
        let secret = json!({"provider": "cloudflare", "settings": {"token": "s3cret"}});
        let stored = world.put("/v1/dns/Example.com", secret).await;
        assert_eq!((stored.status, stored.text_at("/zone")), (200, "example.com"));
        assert_eq!(stored.json["settings"], json!(["token"]));
        let listed = world.get("/v1/dns").await;
        assert_eq!(listed.column("zone"), ["example.com"]);
        assert!(!listed.text.contains("s3cret") && !stored.text.contains("s3cret"));
        let audit = world.get("/v1/audit").await;
        assert!(!audit.text.contains("s3cret") && audit.text.contains("dns.set"));
        assert_eq!(world.get("/v1/dns?platform=true").await.column("zone"), [""; 0]);
        let checked = world.post("/v1/dns/example.com/check", Value::Null).await;
        assert_eq!(
            (checked.status, &checked.json["ok"]),
            (200, &json!(true)),
            "{}",
            checked.text
        );
        world
            .put(
                "/v1/dns/refused.example",
                json!({"provider": "cloudflare", "settings": {"token": "t"}}),
            )
            .await;
        let checked = world.post("/v1/dns/refused.example/check", Value::Null).await;
        assert_eq!(checked.json["ok"], json!(false), "{}", checked.text);
        let listed = world.get("/v1/dns").await;
        assert!(
            listed.json["items"][1]["error"]
                .as_str()
                .is_some_and(|e| e.contains("refuses the credentials"))
        );
        assert_eq!(world.ask("DELETE", "/v1/dns/example.com").send().await.status, 204);
        assert_eq!(world.ask("DELETE", "/v1/dns/example.com").send().await.status, 404);
    })
    .await;
}

#[tokio::test]
async fn what_a_zone_cannot_be_is_refused_with_what_to_do() {
    in_world(async |world| {
        let cases = [
            (json!({"provider": "nobody"}), "/provider", "Give one of azure"),
            (json!({"provider": "cloudflare"}), "/settings", "also needs `token`"),
            (
                json!({"provider": "cloudflare", "settings": {"token": " "}}),
                "/settings/token",
                "Give 1 to",
            ),
            (
                json!({"provider": "cloudflare", "settings": {"key": "k"}}),
                "/settings/key",
                "no setting `key`: it knows `token`",
            ),
            (
                json!({"provider": "cloudflare", "settings": {"token": "odd"}}),
                "/settings",
                "makes no sense",
            ),
            (
                json!({"provider": "cloudflare", "settings": {"token": "t"}, "delegation": true}),
                "/delegation",
                "platform=true",
            ),
        ];
        for (body, pointer, said) in cases {
            let answer = world.put("/v1/dns/example.com", body).await;
            assert_eq!(answer.pointers(), [pointer], "{}", answer.text);
            assert!(answer.detail().contains(said), "{}", answer.text);
        }
        let good = json!({"provider": "cloudflare", "settings": {"token": "t"}, "delegation": true});
        assert_eq!(
            world.put("/v1/dns/%2A.example.com", good.clone()).await.code(),
            "invalid_name"
        );
        assert_eq!(
            world
                .put("/v1/dns/example.net?platform=true", good.clone())
                .await
                .status,
            200
        );
        let second = world.put("/v1/dns/example.org?platform=true", good.clone()).await;
        assert!(
            second.code() == "conflict" && second.detail().contains("example.net"),
            "{}",
            second.text
        );
        assert_eq!(
            world.put("/v1/dns/example.net?platform=true", good).await.status,
            200,
            "the same again"
        );
    })
    .await;
}

#[tokio::test]
async fn s50_a_team_cannot_have_the_platform_call_an_address_nor_use_its_zones() {
    in_world(async |world| {
        let (_, token) = crew(&world).await;
        let put = async |path: &str, body: Value| world.ask("PUT", path).token(&token).json(&body).send().await;
        let own = json!({"provider": "rfc2136", "settings": {"server": "127.0.0.1", "key_name": "k", "key": "a2V5"}});
        assert_eq!(put("/v1/dns/example.com", own).await.code(), "forbidden");
        assert_eq!(
            put("/v1/dns/example.com", json!({"provider": "exec"})).await.code(),
            "forbidden"
        );
        let pdns = json!({"provider": "powerdns", "settings": {"api_key": "k", "endpoint": "http://169.254.169.254"}});
        assert_eq!(put("/v1/dns/example.com", pdns).await.code(), "forbidden");
        let hosted = json!({"provider": "cloudflare", "settings": {"token": "t"}});
        assert_eq!(
            put("/v1/dns/example.com?platform=true", hosted.clone()).await.code(),
            "forbidden"
        );
        assert_eq!(put("/v1/dns/example.com", hosted).await.status, 200);
        let seen = world.ask("GET", "/v1/dns?platform=true").token(&token).send().await;
        assert_eq!(seen.code(), "forbidden");
        assert_eq!(
            world.get("/v1/dns").await.column("zone"),
            [""; 0],
            "each team sees its own"
        );
    })
    .await;
}

#[tokio::test]
async fn browsers_are_told_to_remember_step_by_step_and_what_lasts_is_asked_twice() {
    in_world(async |world| {
        world.post("/v1/apps", json!({"name": "web"})).await;
        world.post(DOMAINS, json!({"host": "example.com"})).await;
        let path = format!("{DOMAINS}/example.com");
        let told = async |hsts: Value| world.ask("PATCH", &path).json(&json!({"hsts": hsts})).send().await;
        let early = told(json!({"enabled": true})).await;
        assert!(early.code() == "conflict" && early.detail().contains("no certificate yet"), "{}", early.text);
        assert!(prove(&world, world.team, "example.com").await);
        world
            .db
            .execute(
                "insert into certificates (id, names, issuer, chain_pem, sealed_key, key_version, not_before, not_after, created_at, renew_at)
                 values ('00000000-0000-7000-8000-000000000001', array['example.com'], 'CA', '', '', 1, now(), '2099-01-01', now(), now())",
            )
            .await;
        let on = told(json!({"enabled": true})).await;
        assert_eq!(on.text_at("/hsts/header"), "max-age=300", "{}", on.text);
        assert_eq!(on.json["hsts"]["next_max_age_seconds"], 86_400);
        let wide = told(json!({"enabled": true, "include_subdomains": true})).await;
        assert!(wide.code() == "confirmation_required" && wide.detail().contains("`example.com`"), "{}", wide.text);
        let wrong = told(json!({"enabled": true, "include_subdomains": true, "confirm": "yes"})).await;
        assert_eq!(wrong.code(), "confirmation_required");
        let wide = told(json!({"enabled": true, "include_subdomains": true, "confirm": "example.com"})).await;
        assert_eq!(wide.text_at("/hsts/header"), "max-age=300; includeSubDomains");
        let early = told(json!({"enabled": true, "include_subdomains": true, "preload": true, "confirm": "example.com"})).await;
        assert!(early.pointers() == ["/hsts/preload"] && early.detail().contains("a year"), "{}", early.text);
        world.db.execute("update custom_domains set hsts_max_age_seconds = 31536000").await;
        let preload = json!({"enabled": true, "include_subdomains": true, "preload": true});
        let twice = told(preload.clone()).await;
        assert!(twice.code() == "confirmation_required" && twice.detail().contains("months"), "{}", twice.text);
        let mut confirmed = preload;
        confirmed["confirm"] = "example.com".into();
        let built_in = told(confirmed).await;
        assert_eq!(built_in.text_at("/hsts/header"), "max-age=31536000; includeSubDomains; preload");
        // The way out says how long it takes.
        let off = told(json!({"enabled": false})).await;
        assert_eq!(off.text_at("/hsts/header"), "max-age=0", "{}", off.text);
        let until = off.text_at("/hsts/remembered_until");
        let until: chrono::DateTime<chrono::Utc> = until.parse().expect("a time");
        let year = world.ports.clock.now() + chrono::TimeDelta::days(365);
        // The test's clock goes on with each look at it.
        assert!((year - until).num_seconds() == 0, "{until} {year}");
        let nothing = world.ask("PATCH", &path).json(&json!({})).send().await;
        assert_eq!(nothing.code(), "invalid_body", "{}", nothing.text);
    })
    .await;
}

#[tokio::test]
async fn a_certificate_is_brought_along_given_up_renewed_and_taken_back() {
    in_world(async |world| {
        world.post("/v1/apps", json!({"name": "web"})).await;
        world.post(DOMAINS, json!({"host": "shop.example.com"})).await;
        let at = |what: &str| format!("{DOMAINS}/shop.example.com/{what}");
        let pair = json!({"chain": "chain", "key": "s3cret"});
        let early = world.put(&at("certificate"), pair.clone()).await;
        assert!(
            early.code() == "conflict" && early.detail().contains("not proven"),
            "{}",
            early.text
        );
        assert!(prove(&world, world.team, "shop.example.com").await);
        let none = world.post(&at("revoke"), json!({})).await;
        assert_eq!(none.code(), "conflict", "{}", none.text);
        let first = world.post(&at("renew"), Value::Null).await;
        assert_eq!(first.status, 202, "the first one is tried for now: {}", first.text);
        let wrong = world
            .put(&at("certificate"), json!({"chain": "wrong", "key": "k"}))
            .await;
        assert_eq!(wrong.detail(), "It is not for shop.example.com.");
        let used = world.put(&at("certificate"), pair).await;
        assert_eq!(used.json["certificate"]["uploaded"], true, "{}", used.text);
        assert_eq!(used.text_at("/certificate/issuer"), "Somebody");
        assert!(!world.get("/v1/audit").await.text.contains("s3cret"));
        let listed = world.get("/v1/certificates").await;
        assert_eq!(
            (listed.column("issuer"), &listed.json["items"][0]["uploaded"]),
            (vec!["Somebody".into()], &json!(true))
        );
        assert_eq!(
            world.post(&at("renew"), Value::Null).await.code(),
            "conflict",
            "nothing renews it"
        );
        let named = world.post("/v1/certificates/shop.example.com/renew", Value::Null).await;
        assert!(
            named.code() == "conflict" && named.detail().contains("give-up"),
            "{}",
            named.text
        );
        assert_eq!(
            world.post(&at("revoke"), json!({})).await.code(),
            "conflict",
            "its issuer takes it back"
        );
        let row = async |column: &str| {
            world
                .db
                .number(&format!("select ({column})::int::bigint from certificates"))
                .await
        };
        assert_eq!(row("renew_at = not_after").await, 1);
        let given_up = world.ask("DELETE", &at("certificate")).send().await;
        assert_eq!(given_up.status, 202, "{}", given_up.text);
        assert_eq!(row("renew_at < not_after").await, 1);
    })
    .await;
}

#[tokio::test]
async fn an_ordered_certificate_is_replaced_and_taken_back_on_request() {
    in_world(async |world| {
        world.post("/v1/apps", json!({"name": "web"})).await;
        world.post(DOMAINS, json!({"host": "shop.example.com"})).await;
        let at = |what: &str| format!("{DOMAINS}/shop.example.com/{what}");
        assert!(prove(&world, world.team, "shop.example.com").await);
        world.put(&at("certificate"), json!({"chain": "c", "key": "k"})).await;
        let row = async |column: &str| {
            world
                .db
                .number(&format!("select ({column})::int::bigint from certificates"))
                .await
        };
        world
            .db
            .execute("update certificates set uploaded = false, ca = 'https://ca.example/dir', renew_at = not_after")
            .await;
        assert_eq!(world.ask("DELETE", &at("certificate")).send().await.code(), "conflict");
        assert_eq!(world.post(&at("renew"), Value::Null).await.status, 202);
        assert_eq!(row("renew_at < not_after").await, 1);
        let body = json!({"reason": "key_compromise", "immediately": true});
        assert_eq!(world.post(&at("revoke"), body).await.status, 202);
        assert_eq!(row("revocation_reason").await, 1);
        let listed = async || world.get("/v1/certificates").await.json["items"][0]["revoke_at"].clone();
        assert!(listed().await.is_string(), "it is shown until it is done");
        world.db.execute("update certificates set revoked_at = now()").await;
        assert_eq!(listed().await, Value::Null);
        assert_eq!(
            world.post(&at("revoke"), json!({"reason": "no_idea"})).await.code(),
            "invalid_body"
        );
        let rolled = world.post("/v1/certificates/roll-account-keys", Value::Null).await;
        assert_eq!(
            (rolled.status, &rolled.json["accounts"]),
            (202, &json!(0)),
            "{}",
            rolled.text
        );
    })
    .await;
}

#[tokio::test]
async fn visitors_are_asked_for_a_certificate_and_a_trial_says_how_it_went() {
    in_world(async |world| {
        world.post("/v1/apps", json!({"name": "web"})).await;
        world.post(DOMAINS, json!({"host": "shop.example.com"})).await;
        let at = |what: &str| format!("{DOMAINS}/shop.example.com/{what}");
        let wrong = world.put(&at("client-ca"), json!({"certificates": "wrong"})).await;
        assert_eq!(
            (wrong.pointers(), wrong.detail()),
            (vec!["/certificates"], "It is no CA.")
        );
        let early = world.put(&at("client-ca"), json!({"certificates": "pem"})).await;
        assert_eq!(
            early.code(),
            "conflict",
            "a wildcard may serve it to anybody: {}",
            early.text
        );
        assert_eq!(
            world.post(&at("trial"), Value::Null).await.code(),
            "conflict",
            "it is not proven"
        );
        assert!(prove(&world, world.team, "shop.example.com").await);
        let asked = world.put(&at("client-ca"), json!({"certificates": "pem"})).await;
        assert_eq!(asked.json["client_ca"], true, "{}", asked.text);
        world.post(DOMAINS, json!({"host": "*.example.com"})).await;
        assert!(prove(&world, world.team, "*.example.com").await);
        let given_up = world.ask("DELETE", &format!("{DOMAINS}/shop.example.com")).send().await;
        assert!(
            given_up.code() == "conflict" && given_up.detail().contains("*.example.com would serve"),
            "{}",
            given_up.text
        );
        let off = world.ask("DELETE", &at("client-ca")).send().await;
        assert_eq!(off.json["client_ca"], false, "{}", off.text);

        assert_eq!(world.get(&at("trial")).await.status, 404);
        let begun = world.post(&at("trial"), Value::Null).await;
        assert_eq!(
            (begun.status, begun.text_at("/state")),
            (202, "running"),
            "{}",
            begun.text
        );
        let error = r#"{"code": "ca_cannot_reach", "detail": "d", "hint": "h"}"#;
        world
            .db
            .execute(&format!("update acme_trials set ended_at = now(), error = '{error}'"))
            .await;
        let ended = world.get(&at("trial")).await;
        assert_eq!(
            (ended.text_at("/state"), ended.text_at("/reason/code")),
            ("failed", "ca_cannot_reach")
        );
        world.db.execute("update acme_trials set error = null").await;
        assert_eq!(world.get(&at("trial")).await.text_at("/state"), "succeeded");
    })
    .await;
}
