//! Hints: whatever happens to a container of ours is told, once the stream was asked for.

use slipway_engine::{Engine, EngineEvents};

use crate::place::{Foreign, LOCAL_IMAGE, Place, docker, get, soon};

/// Reads on to this action on the place's environment.
async fn wait_for(events: &mut Box<dyn EngineEvents>, place: &Place, action: &str) {
    let found = async {
        loop {
            let event = events.next().await.expect("the stream goes on");
            if event.environment == place.environment() && event.action == action {
                return;
            }
        }
    };
    soon(action, found).await;
}

#[tokio::test]
async fn what_happens_to_an_instance_is_told_even_before_the_first_question() {
    let place = Place::with_network().await;
    let mut events = place.engine.events().await.expect("a stream");
    let group = place.group("").await;
    // All of this happens before anybody looks at the stream.
    let (instance, address) = place.serve(&group).await;
    get(address, "/exit");
    for action in ["create", "start", "die"] {
        wait_for(&mut events, &place, action).await;
    }
    place
        .engine
        .remove_instance(&instance.id, group.kill_timeout)
        .await
        .expect("removed");
    wait_for(&mut events, &place, "destroy").await;
}

#[tokio::test]
async fn containers_of_others_are_not_told_of() {
    let place = Place::with_network().await;
    let mut events = place.engine.events().await.expect("a stream");
    let foreign = Foreign(format!("{}-foreign", place.owner.app));
    docker(&[
        "create",
        "--name",
        &foreign.0,
        "--label",
        "slipway.environment-id=production",
        LOCAL_IMAGE,
    ]);
    docker(&["create", "--name", &format!("{}-plain", foreign.0), LOCAL_IMAGE]);
    let _plain = Foreign(format!("{}-plain", foreign.0));
    let group = place.group("").await;
    place.engine.apply_group(&group, &[0]).await.expect("one slot");
    // Other tests' containers may be told of: every hint is of an environment, and ours begins with ours.
    let first = async {
        loop {
            let event = events.next().await.expect("the stream goes on");
            if event.environment == place.environment() {
                return event.action;
            }
        }
    };
    assert_eq!(soon("the first hint", first).await, "create");
}
