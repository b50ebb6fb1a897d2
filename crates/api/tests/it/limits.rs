//! What a team may use in all.

use serde_json::json;

use crate::world::in_world;

#[tokio::test]
async fn what_would_use_more_than_the_team_may_is_refused_and_the_way_back_is_not() {
    in_world(async |world| {
        let scale = |count: u32| json!({"count": count});
        world.deployed("web", "web:1").await;
        let limits = json!({"instances": 3, "memory": "768MiB"});
        let set = world.put("/v1/teams/default/limits", limits.clone()).await;
        assert_eq!((set.status, &set.json["limits"]), (200, &limits), "{}", set.text);
        let scaled = world.post("/v1/apps/web/scale", scale(2)).await;
        world.succeed(&scaled.json).await;
        // Another one fits, a second does not.
        world.deployed("api", "web:1").await;
        let refused = world.post("/v1/apps/web/scale", scale(3)).await;
        assert_eq!((refused.status, refused.code().as_str()), (422, "team_limit"));
        for words in [
            "limit for instances is 3",
            "may use 1",
            "up to 3",
            "slipway teams limits",
        ] {
            assert!(refused.text.contains(words), "{words}: {}", refused.text);
        }
        assert_eq!(world.get("/v1/apps/web/spec").await.json["spec"]["scale"]["min"], 2);
        let refused = world.ask("POST", "/v1/deploy?image=web:1&app=third").send().await;
        assert_eq!(refused.code(), "team_limit", "{}", refused.text);
        assert_eq!(world.get("/v1/apps/third").await.status, 404, "nothing is left of it");

        // What is stopped does not count.
        let stopped = world.post("/v1/apps/api/stop", json!({})).await;
        assert_eq!(stopped.status, 202, "{}", stopped.text);
        let scaled = world.post("/v1/apps/web/scale", scale(3)).await;
        world.succeed(&scaled.json).await;
        assert_eq!(world.post("/v1/apps/api/start", json!({})).await.code(), "team_limit");

        // A limit below what runs takes nothing away, and does not bar the way back.
        let none = world.put("/v1/teams/default/limits", json!({"instances": 0})).await;
        assert_eq!(none.status, 200);
        assert_eq!(world.post("/v1/apps/web/restart", json!({})).await.code(), "team_limit");
        let back = world.post("/v1/apps/web/rollback", json!({"release": 1})).await;
        assert_eq!(back.status, 202, "{}", back.text);
        let lifted = world.put("/v1/teams/default/limits", json!({})).await;
        assert_eq!(lifted.json["limits"], json!({}));
        let audit = world.get("/v1/audit?action=team.limits").await;
        assert_eq!(audit.json["items"].as_array().map(Vec::len), Some(3));
    })
    .await;
}

#[tokio::test]
async fn only_an_administrator_limits_teams_and_wrong_values_are_told_by_place() {
    in_world(async |world| {
        let token = world.token(&["write:team", "read:team"], json!({})).await;
        let path = "/v1/teams/default/limits";
        let refused = world.ask("PUT", path).token(&token).json(&json!({})).send().await;
        assert_eq!(refused.code(), "forbidden");
        assert_eq!(
            world.put("/v1/teams/nobody/limits", json!({})).await.code(),
            "not_found"
        );
        for (body, words) in [
            (json!({"memory": "lots"}), "256MiB"),
            (json!({"cpu": "-1"}), "cores"),
            (json!({"instances": -1}), "instances"),
            (json!({"disk": "1GiB"}), "disk"),
        ] {
            let answer = world.put(path, body.clone()).await;
            assert!(
                answer.status == 422 && answer.text.contains(words),
                "{body}: {}",
                answer.text
            );
        }
    })
    .await;
}
