//! Named volumes: made on first use, given to the app's user, kept, and removed only when asked.

use slipway_domain::name::VolumeName;
use slipway_domain::spec::Mount;
use slipway_engine::{Engine, EngineError, GroupSpec};

use crate::place::{Place, docker, docker_lossy, get};

fn volume() -> VolumeName {
    "files".parse().expect("a name")
}

fn name(place: &Place) -> String {
    format!("slipway-{}-files", place.environment())
}

async fn group(place: &Place) -> GroupSpec {
    let mut group = place.group("").await;
    group.mounts.push(Mount {
        volume: volume(),
        path: "/files".to_owned(),
    });
    group
}

#[tokio::test]
async fn what_is_written_to_a_volume_outlives_the_instance() {
    let place = Place::with_network().await;
    let group = group(&place).await;
    let (first, address) = place.serve(&group).await;
    let written = get(address, "/file?path=/files/state&write=kept");
    assert_eq!(written.as_deref(), Some("written\n"), "the app's user may write");
    place
        .engine
        .remove_instance(&first.id, group.kill_timeout)
        .await
        .expect("removed");
    let (second, address) = place.serve(&group).await;
    assert_ne!(second.id, first.id);
    assert_eq!(get(address, "/file?path=/files/state").as_deref(), Some("kept"));
    // Nothing is left of what gave the volume to the app's user.
    let filter = format!("label=slipway.environment-id={}", place.environment());
    let all = docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter]);
    assert_eq!(all, second.id);
}

#[tokio::test]
async fn a_volume_in_use_stays_and_an_unused_one_goes() {
    let place = Place::with_network().await;
    let group = group(&place).await;
    let (instance, _) = place.serve(&group).await;
    let answer = place.engine.remove_volume(place.environment(), &volume()).await;
    assert!(matches!(&answer, Err(error) if error.is_transient()), "{answer:?}");
    place
        .engine
        .remove_instance(&instance.id, group.kill_timeout)
        .await
        .expect("removed");
    for _ in 0..2 {
        let answer = place.engine.remove_volume(place.environment(), &volume()).await;
        answer.expect("removed, and gone already");
    }
    let filter = format!("name={}", name(&place));
    assert_eq!(docker(&["volume", "ls", "--quiet", "--filter", &filter]), "");
}

/// A volume of somebody else's under the name that an environment's would have.
struct ForeignVolume(String);

impl Drop for ForeignVolume {
    fn drop(&mut self) {
        docker_lossy(&["volume", "rm", "--force", &self.0]);
    }
}

#[tokio::test]
async fn somebody_elses_volume_of_that_name_is_neither_used_nor_removed() {
    let place = Place::with_network().await;
    let foreign = ForeignVolume(name(&place));
    docker(&["volume", "create", &foreign.0]);
    let answer = place.engine.apply_group(&group(&place).await, &[0]).await;
    assert!(
        matches!(&answer, Err(EngineError::Refused(t)) if t.contains(&format!("docker volume rm {}", foreign.0))),
        "{answer:?}"
    );
    assert_eq!(place.observe().await, []);
    let answer = place.engine.remove_volume(place.environment(), &volume()).await;
    answer.expect("ours is not there");
    docker(&["volume", "inspect", &foreign.0]);
}

#[tokio::test]
async fn the_volumes_of_other_environments_are_not_seen() {
    let (one, other) = (Place::with_network().await, Place::with_network().await);
    let (_, address) = one.serve(&group(&one).await).await;
    get(address, "/file?path=/files/state&write=mine").expect("an answer");
    let (_, address) = other.serve(&group(&other).await).await;
    let read = get(address, "/file?path=/files/state").expect("an answer");
    assert!(read.contains("No such file"), "{read}");
}
