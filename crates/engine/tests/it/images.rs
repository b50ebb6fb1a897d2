//! What a reference is: a digest in a registry, an id on the engine, or one clear no.

use slipway_domain::image::{ImageReference, Pin};
use slipway_domain::ports::{PullPolicy, RegistryCredentials, ResolveError};
use slipway_domain::secret::Secret;
use slipway_engine::{Engine, EngineError};

use crate::place::{LOCAL_IMAGE, Place, credentials, docker, docker_lossy, engine, local_image, registry};

fn reference(rest: &str) -> ImageReference {
    format!("{}/slipway-test/{rest}", registry())
        .parse()
        .expect("a reference")
}

async fn resolve(rest: &str, credentials: Option<&RegistryCredentials>) -> Result<Pin, ResolveError> {
    let reference = reference(rest);
    engine().resolve(&reference, PullPolicy::Registry, credentials).await
}

#[tokio::test]
async fn a_tag_becomes_the_digest_it_points_at_and_the_digest_stays_itself() {
    let login = credentials();
    let one = resolve("app:1", Some(&login)).await.expect("the tag is there");
    let two = resolve("app:2", Some(&login)).await.expect("the tag is there");
    assert_ne!(one.digest(), two.digest());
    let Pin::Registry {
        name, registry: host, ..
    } = &one
    else {
        panic!("pinned by id: {one:?}")
    };
    assert_eq!(
        (name.as_str(), host.as_str()),
        (reference("app:1").name().as_str(), registry().as_str())
    );
    let by_digest = format!("app@{}", one.digest());
    assert_eq!(resolve(&by_digest, Some(&login)).await, Ok(one));
}

#[tokio::test]
async fn what_the_registry_does_not_have_is_not_found() {
    let login = credentials();
    let absent = format!("app@sha256:{}", "0".repeat(64));
    for rest in ["app:never-pushed", "never-pushed:1", absent.as_str()] {
        let answer = resolve(rest, Some(&login)).await;
        let Err(ResolveError::NotFound(text)) = answer else {
            panic!("{rest}: {answer:?}")
        };
        assert!(text.contains(&registry()), "{text}");
    }
}

#[tokio::test]
async fn wrong_and_missing_credentials_are_told_with_what_to_do() {
    let wrong = RegistryCredentials {
        password: Secret::new("not-the-password".into()),
        ..credentials()
    };
    for login in [Some(&wrong), None] {
        let answer = resolve("app:1", login).await;
        let Err(ResolveError::Unauthorized(text)) = answer else {
            panic!("{answer:?}")
        };
        assert!(text.contains("slipway registries set"), "{text}");
        assert!(!text.contains("not-the-password"), "{text}");
    }
}

#[tokio::test]
async fn a_registry_that_nobody_runs_is_unavailable() {
    let reference = "127.0.0.1:1/slipway-test/app:1".parse().expect("a reference");
    let answer = engine().resolve(&reference, PullPolicy::Registry, None).await;
    let Err(ResolveError::Unavailable(text)) = answer else {
        panic!("{answer:?}")
    };
    assert!(text.contains("127.0.0.1:1"), "{text}");
}

#[tokio::test]
async fn an_image_for_another_platform_is_refused_before_it_is_pulled() {
    let answer = resolve("app:arm64", Some(&credentials())).await;
    let Err(ResolveError::Platform { wanted, offered }) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(offered.len(), 1);
    assert_eq!(offered[0].architecture, "arm64");
    assert_ne!(wanted, offered[0]);
}

#[tokio::test]
async fn a_local_image_is_pinned_by_its_id() {
    let pin = local_image(&engine()).await;
    let id = docker(&["image", "inspect", "--format", "{{.Id}}", LOCAL_IMAGE]);
    assert_eq!(
        pin,
        Pin::Local {
            id: id.parse().expect("a digest")
        }
    );
    assert!(engine().has_image(&pin).await.expect("the engine answers"));
    let absent = "slipway-test/never-built:1".parse().expect("a reference");
    let answer = engine().resolve(&absent, PullPolicy::Local, None).await;
    assert!(
        matches!(&answer, Err(ResolveError::NotFound(t)) if t.contains("build, load or tag it")),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_local_image_that_is_gone_cannot_be_pulled() {
    let pin = Pin::Local {
        id: format!("sha256:{}", "0".repeat(64)).parse().expect("a digest"),
    };
    assert_eq!(engine().has_image(&pin).await, Ok(false));
    let answer = engine().pull(&pin, None, std::sync::Arc::new(|_, _| {})).await;
    assert!(
        matches!(answer, Err(EngineError::Image(ResolveError::NotFound(_)))),
        "{answer:?}"
    );
}

/// A tag of this test's own, which goes with it.
struct Tag(String);

impl Tag {
    fn new(place: &Place) -> Self {
        let name = format!("slipway-test/{}:1", place.owner.app);
        docker(&["tag", LOCAL_IMAGE, &name]);
        Self(name)
    }
}

impl Drop for Tag {
    fn drop(&mut self) {
        docker_lossy(&["image", "rm", "--no-prune", &self.0]);
    }
}

#[tokio::test]
async fn images_are_listed_with_their_tags_and_one_tag_can_be_removed() {
    let place = Place::new();
    let tag = Tag::new(&place);
    let id = local_image(&place.engine).await;
    let all = place.engine.images().await.expect("a list");
    let ours = all.iter().find(|i| i.id == *id.digest()).expect("the test image");
    assert!(ours.tags.contains(&tag.0) && ours.tags.contains(&LOCAL_IMAGE.to_owned()));
    assert!(!ours.tags.iter().any(|t| t.contains("<none>")));
    assert!(ours.size_bytes > 1 << 16, "{ours:?}");
    for when in ["removed", "gone already"] {
        assert!(place.engine.remove_image(&tag.0).await.expect(when), "{when}");
    }
    let all = place.engine.images().await.expect("a list");
    let ours = all.iter().find(|i| i.id == *id.digest()).expect("still there");
    assert!(!ours.tags.contains(&tag.0) && ours.tags.contains(&LOCAL_IMAGE.to_owned()));
}

#[tokio::test]
async fn an_image_that_a_container_uses_stays() {
    let place = Place::with_network().await;
    let group = place.group("").await;
    place.engine.apply_group(&group, &[0]).await.expect("one slot");
    // By its id it cannot be removed while it has several names or a container; either way that is no error.
    let id = group.image.engine_reference();
    assert!(!place.engine.remove_image(&id).await.expect("left alone"));
    assert!(place.engine.has_image(&group.image).await.expect("an answer"));
}
