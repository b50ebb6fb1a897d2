//! The settings file when it is not as it should be.

use crate::world::World;

#[tokio::test]
async fn a_broken_settings_file_is_named_with_what_is_wrong() {
    let world = World::bare().with("SLIPWAY_CONFIG", "settings.toml");
    world.file("settings.toml", "curent = \"x\"\n");
    world
        .run(&["apps", "list"])
        .await
        .refused(1, &["settings.toml", "unknown field `curent`", "log in again"]);
    world.file("settings.toml", "current = \n");
    world.run(&["apps", "list"]).await.refused(1, &["settings.toml"]);
}

#[tokio::test]
async fn an_address_that_is_none_is_usage() {
    for url in ["ftp://x", "https://user:password@x", "https://x/?a=b", "::"] {
        World::at(url)
            .run(&["apps", "list"])
            .await
            .refused(2, &["is not an address of a server"]);
    }
    let outcome = World::bare()
        .with("SLIPWAY_API_LISTEN", "here")
        .run(&["apps", "list"])
        .await;
    outcome.refused(2, &["SLIPWAY_API_LISTEN"]);
    let outcome = World::at("http://127.0.0.1:1")
        .with("SLIPWAY_TOKEN", "a\nb")
        .run(&["apps", "list"])
        .await;
    outcome.refused(2, &["the token contains characters"]);
}
