//! The document itself, and that no route stands open.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use slipway_domain::access::{Permission, Resource, Scope, Verb};
use slipway_testkit::openapi::{Document, Operation};

use crate::world::{World, in_world};

fn document() -> Document {
    Document::new(serde_json::to_value(slipway_api::openapi()).expect("serializes"))
}

fn name(operation: &Operation) -> String {
    format!("{} {}", operation.method, operation.path)
}

fn is_public(operation: &Operation) -> bool {
    slipway_api::PUBLIC.contains(&(operation.method.as_str(), operation.path.as_str()))
}

#[test]
fn the_document_is_openapi_3_1_and_every_reference_leads_somewhere() {
    let document = document();
    assert_eq!(document.value()["openapi"], "3.1.0");
    let text = document.value().to_string();
    for part in text.split("\"$ref\":\"#").skip(1) {
        let pointer = part.split('"').next().expect("a pointer");
        assert!(document.value().pointer(pointer).is_some(), "{pointer}");
    }
    let ids: Vec<_> = document
        .operations()
        .iter()
        .map(|o| o.value["operationId"].clone())
        .collect();
    let unique: BTreeSet<_> = ids.iter().map(Value::to_string).collect();
    assert_eq!(ids.len(), unique.len(), "operation ids repeat");
}

#[test]
fn every_operation_declares_a_permission_or_stands_on_the_public_list() {
    let operations = document().operations();
    for operation in &operations {
        let permission = operation.value["x-permission"].as_str();
        assert_eq!(permission.is_none(), is_public(operation), "{}", name(operation));
        if let Some(permission) = permission {
            let mut all = permission.split(" or ");
            assert!(all.all(|p| matches!(p.parse(), Ok(Scope::One(_)))), "{permission}");
        }
    }
    for (method, path) in slipway_api::PUBLIC {
        assert!(
            operations.iter().any(|o| o.method == *method && o.path == *path),
            "{method} {path}"
        );
    }
}

#[test]
fn every_operation_documents_a_success_a_401_and_another_refusal() {
    for operation in document().operations().iter().filter(|o| !is_public(o)) {
        let statuses: Vec<String> = operation.value["responses"]
            .as_object()
            .expect("responses")
            .keys()
            .cloned()
            .collect();
        let name = name(operation);
        assert!(statuses.iter().any(|s| s.starts_with('2')), "{name}: {statuses:?}");
        assert!(statuses.contains(&"401".to_owned()), "{name}: {statuses:?}");
        assert!(
            statuses.iter().any(|s| s.starts_with('4') && s != "401"),
            "{name}: {statuses:?}"
        );
        for parameter in operation
            .path
            .split('{')
            .skip(1)
            .map(|p| p.split('}').next().expect("closed"))
        {
            let all = operation.value["parameters"].as_array().expect("parameters");
            assert!(
                all.iter().any(|p| p["name"] == parameter && p["in"] == "path"),
                "{name}: {parameter}"
            );
        }
    }
}

/// The path with something in the place of its parameters.
fn filled(operation: &Operation, id: &str) -> String {
    let path = operation
        .path
        .replace("{app}", "web")
        .replace("{environment}", "production");
    path.replace("{name}", "KEY")
        .replace("{host}", "registry.example.com")
        .replace("{zone}", "example.com")
        .replace("{id}", id)
}

/// A body that is right for the operation, so that nothing but the permission stands in the way.
fn body(operation: &Operation) -> Option<Value> {
    operation.value.get("requestBody")?;
    Some(match (operation.method.as_str(), operation.path.as_str()) {
        ("post", "/v1/apps") => json!({"name": "web"}),
        ("post", "/v1/teams") => json!({"name": "crew"}),
        ("post", "/v1/tokens") => json!({"name": "x", "scopes": ["read:app"]}),
        ("post", "/v1/apps/{app}/environments") => json!({"name": "staging"}),
        ("post", "/v1/apps/{app}/deployments") => json!({"image": "web:1"}),
        ("post", "/v1/apps/{app}/promote") => json!({"from": "production", "to": "staging"}),
        ("post", "/v1/apps/{app}/scale") => json!({"count": 2}),
        ("post", "/v1/apps/{app}/run") => json!({"command": ["/app/task"]}),
        ("put" | "patch", "/v1/apps/{app}/env") => json!({"env": {}}),
        ("put", "/v1/apps/{app}/secrets/{name}") => json!({"value": "x"}),
        ("patch", "/v1/apps/{app}/domains/{host}") => json!({"redirect_to": null}),
        ("post", "/v1/apps/{app}/domains") => json!({"host": "shop.example.com"}),
        ("put", "/v1/apps/{app}/domains/{host}/certificate") => json!({"chain": "c", "key": "k"}),
        ("put", "/v1/apps/{app}/domains/{host}/client-ca") => json!({"certificates": "c"}),
        ("put", "/v1/dns/{zone}") => json!({"provider": "desec", "settings": {"token": "t"}}),
        ("put", "/v1/registries/{host}") => json!({"username": "u", "password": "p"}),
        _ => json!({}),
    })
}

async fn tried(world: &World, operation: &Operation, id: &str, token: &str) -> String {
    let mut path = filled(operation, id);
    if operation.path == "/v1/deploy" {
        path.push_str("?image=web:1");
    }
    let ask = world.ask(&operation.method.to_uppercase(), &path).token(token);
    let ask = match body(operation) {
        Some(body) => ask.json(&body),
        None => ask,
    };
    ask.send().await.code()
}

fn guarded() -> Vec<Operation> {
    document().operations().into_iter().filter(|o| !is_public(o)).collect()
}

/// All scopes but one.
/// Every scope but those that open a route.
fn scopes_without(permissions: &str) -> Vec<String> {
    let opens: Vec<&str> = permissions.split(" or ").collect();
    let all = Verb::ALL
        .iter()
        .flat_map(|v| Resource::ALL.iter().map(|r| Permission::new(*v, *r).to_string()));
    all.filter(|p| !opens.contains(&p.as_str())).collect()
}

#[tokio::test]
async fn nothing_opens_without_a_token_or_without_its_scope() {
    in_world(async |world| {
        world.deployed("web", "web:1").await;
        let id = world.newest("web").await["id"].as_str().expect("an id").to_owned();
        let before = world.db.rows().await;
        for operation in guarded() {
            assert_eq!(
                tried(&world, &operation, &id, "").await,
                "unauthenticated",
                "{}",
                name(&operation)
            );
            let scopes = scopes_without(operation.value["x-permission"].as_str().expect("a permission"));
            let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
            let token = world.token(&scopes, json!({})).await;
            assert_eq!(
                tried(&world, &operation, &id, &token).await,
                "forbidden",
                "{}",
                name(&operation)
            );
        }
        assert_eq!(world.db.rows().await, before);
        let denied = world.get("/v1/audit?action=access.denied&limit=200").await;
        assert!(denied.json["items"].as_array().expect("entries").len() >= guarded().len());
    })
    .await;
}

#[tokio::test]
async fn what_belongs_to_others_does_not_exist() {
    in_world(async |world| {
        world.deployed("web", "web:1").await;
        let id = world.newest("web").await["id"].as_str().expect("an id").to_owned();
        let before = world.db.rows().await;
        let every = Verb::ALL
            .iter()
            .flat_map(|v| Resource::ALL.iter().map(|r| Permission::new(*v, *r).to_string()));
        let every: Vec<String> = every.collect();
        let every: Vec<&str> = every.iter().map(String::as_str).collect();
        let stranger = world
            .token_of(world.other_team("strangers").await, &every, json!({}))
            .await;
        let narrowed = world.token(&every, json!({"apps": ["other"]})).await;
        let elsewhere = world.token(&every, json!({"environments": ["staging"]})).await;
        let of_one_app = |o: &Operation| o.path.contains("{app}") || o.path.starts_with("/v1/deployments/");
        for operation in guarded().iter().filter(|o| of_one_app(o)) {
            for (who, token) in [("stranger", &stranger), ("narrowed", &narrowed)] {
                let found = tried(&world, operation, &id, token).await;
                // A stranger may make apps, and learns at that moment that the name is taken.
                let making = operation.path == "/v1/apps/{app}/deployments" && operation.method == "post";
                let expected = if making && who == "stranger" {
                    "already_exists"
                } else {
                    "not_found"
                };
                assert_eq!(found, expected, "{who}: {}", name(operation));
            }
        }
        for path in [
            format!("/v1/deployments/{id}"),
            "/v1/apps/web/spec?environment=production".into(),
            "/v1/apps/web/logs?environment=production".into(),
        ] {
            let found = world.ask("GET", &path).token(&elsewhere).send().await;
            assert_eq!(found.code(), "not_found", "{path}");
        }
        assert_eq!(world.db.rows().await, before);
    })
    .await;
}
