//! The whole life of an app, from its first row to its last.

use std::collections::BTreeMap;

use slipway_domain::Generation;
use slipway_domain::deployment::{DeploymentEvent, DeploymentState, ReasonCode, StepName, StepState};
use slipway_domain::ids::{ReleaseId, VolumeId};
use slipway_domain::routing::RouteState;
use slipway_domain::spec::Spec;
use slipway_store::{Condition, Desired, EnvironmentStatus, InstanceRecord, LastExit, Page, StoreError, Volume};

use crate::db::with_store;
use crate::fixture::{
    Counter, add_app, add_team, base, deploy, fenced, lead, new_environment, pin, reason, second, tx, web,
};

pub(crate) fn status(generation: Generation, release: ReleaseId) -> EnvironmentStatus {
    EnvironmentStatus {
        replicas: None,
        scaled_at: None,
        rest: slipway_domain::rest::Rest::Awake,
        rest_since: None,
        observed_generation: generation,
        serving: Some(release),
        serving_since: Some(second(8)),
        previous: None,
        instances: vec![InstanceRecord {
            instance: "c0ffee".into(),
            release,
            slot: 0,
            address: Some("10.90.0.2:8080".parse().expect("valid")),
            health: "healthy".into(),
            restarts: 1,
            last_exit: Some(LastExit {
                at: second(7),
                exit_code: 3,
                oom_killed: false,
                unresponsive: false,
            }),
        }],
        conditions: vec![Condition {
            kind: "Ready".into(),
            status: true,
            reason: "Healthy".into(),
            message: "one of one instances answers".into(),
            since: second(9),
        }],
    }
}

#[tokio::test]
async fn a_deployment_is_kept_with_its_steps_and_makes_its_release_good() {
    with_store(async |db, store| {
        let (_, _, environment) = web(&store).await;
        let epoch = lead(&store, 1).await.expect("free");
        let first = deploy(&store, environment.id, second(1)).await;
        assert_eq!(first.state, DeploymentState::Pending);
        assert_eq!((first.generation, first.release_number.0), (Generation(1), 1));
        assert_eq!(first.digest, *pin(1).digest());

        let mut scheduler = fenced(&store, epoch).await;
        scheduler.start_deployment(first.id, second(2)).await.expect("pending");
        for (name, s) in [(StepName::Start, 4), (StepName::Pull, 2)] {
            scheduler
                .step_started(first.id, name, None, second(s))
                .await
                .expect("written");
            let done = scheduler.step_finished(first.id, name, StepState::Succeeded, Some("done"), second(s + 1));
            done.await.expect("written");
        }
        let skipped = scheduler.step_finished(first.id, StepName::ReleaseCommand, StepState::Skipped, None, second(3));
        skipped.await.expect("written");
        scheduler
            .set_route(&environment, RouteState::Serving, &[], None)
            .await
            .expect("written");
        scheduler
            .finish_deployment(first.id, DeploymentEvent::Succeed, None, second(9))
            .await
            .expect("running");
        let found = status(first.generation, first.release);
        scheduler.save_status(environment.id, &found).await.expect("written");
        scheduler.commit().await.expect("commits");

        let mut reader = tx(&store).await;
        let ended = reader.deployment(first.id).await.expect("read").expect("is there");
        assert_eq!(ended.state, DeploymentState::Succeeded);
        assert_eq!(
            (ended.started_at, ended.finished_at),
            (Some(second(2)), Some(second(9)))
        );
        let steps: Vec<_> = ended.steps.iter().map(|s| (s.name, s.state)).collect();
        let succeeded = StepState::Succeeded;
        assert_eq!(
            steps,
            [
                (StepName::Pull, succeeded),
                (StepName::ReleaseCommand, StepState::Skipped),
                (StepName::Start, succeeded)
            ]
        );
        assert_eq!(reader.status(environment.id).await.expect("read"), Some(found));
        let release = reader.last_good_release(environment.id, None).await.expect("read");
        assert_eq!(release.map(|r| (r.id, r.good)), Some((first.release, true)));
        assert_eq!(
            reader.due_environments().await.expect("read"),
            [],
            "nothing is left to do"
        );
        drop(reader);
        assert_eq!(db.number("select epoch from environment_status").await, epoch.0);
    })
    .await;
}

#[tokio::test]
async fn a_deleted_app_is_gone_for_callers_at_once_and_leaves_no_row() {
    with_store(async |db, store| {
        let (team, app, environment) = web(&store).await;
        let epoch = lead(&store, 1).await.expect("free");
        deploy(&store, environment.id, second(1)).await;
        let mut api = tx(&store).await;
        api.delete_app(app.id, second(9)).await.expect("marked");
        api.commit().await.expect("commits");
        let mut reader = tx(&store).await;
        assert_eq!(
            reader.app_by_name(&app.name).await.expect("read"),
            None,
            "it is on its way out"
        );
        assert_eq!(reader.environments(app.id).await.expect("read"), []);
        assert_eq!(reader.due_environments().await.expect("read"), [environment.id]);
        let world = reader
            .environment_by_id(environment.id)
            .await
            .expect("read")
            .expect("its row is there");
        assert_eq!((world.desired, world.generation), (Desired::Deleted, Generation(2)));
        drop(reader);

        let mut scheduler = fenced(&store, epoch).await;
        scheduler.purge_environment(environment.id).await.expect("purged");
        scheduler.commit().await.expect("commits");
        for table in [
            "apps",
            "environments",
            "environment_status",
            "releases",
            "deployments",
            "deployment_steps",
        ] {
            assert_eq!(db.number(&format!("select count(*) from {table}")).await, 0, "{table}");
        }
        for table in ["events", "routes", "domains", "volumes", "secrets"] {
            assert_eq!(db.number(&format!("select count(*) from {table}")).await, 0, "{table}");
        }
        add_app(&store, &team, "web").await;
    })
    .await;
}

#[tokio::test]
async fn purging_one_environment_leaves_the_app_and_the_others() {
    with_store(async |_, store| {
        let (_, app, production) = web(&store).await;
        let staging = new_environment(&app, "staging");
        let mut api = tx(&store).await;
        api.insert_environment(&staging, &base()).await.expect("inserted");
        api.delete_environment(staging.id, second(9)).await.expect("marked");
        api.commit().await.expect("commits");
        let epoch = lead(&store, 1).await.expect("free");
        let mut scheduler = fenced(&store, epoch).await;
        scheduler.purge_environment(staging.id).await.expect("purged");
        scheduler.purge_environment(staging.id).await.expect("twice is once");
        scheduler.commit().await.expect("commits");
        let mut reader = tx(&store).await;
        assert!(reader.app_by_name(&app.name).await.expect("read").is_some());
        assert_eq!(reader.all_environment_ids().await.expect("read"), [production.id]);
    })
    .await;
}

#[tokio::test]
async fn a_failed_deployment_keeps_its_reason_and_closes_its_steps() {
    with_store(async |_, store| {
        let (_, _, environment) = web(&store).await;
        let deployment = deploy(&store, environment.id, second(1)).await;
        let epoch = lead(&store, 1).await.expect("free");
        let mut scheduler = fenced(&store, epoch).await;
        scheduler
            .start_deployment(deployment.id, second(2))
            .await
            .expect("pending");
        scheduler
            .step_started(deployment.id, StepName::Health, Some("waiting for the port"), second(3))
            .await
            .expect("written");
        let why = reason(ReasonCode::PortClosed);
        scheduler
            .finish_deployment(deployment.id, DeploymentEvent::Fail, Some(&why), second(8))
            .await
            .expect("running");
        scheduler.commit().await.expect("commits");

        let mut reader = tx(&store).await;
        let ended = reader.deployment(deployment.id).await.expect("read").expect("is there");
        assert_eq!(
            (ended.state, ended.reason.as_ref()),
            (DeploymentState::Failed, Some(&why))
        );
        assert_eq!(ended.steps[0].state, StepState::Failed);
        assert_eq!(ended.steps[0].detail.as_deref(), Some("nothing listens on port 8080"));
        let last = reader
            .events_after(deployment.id, 0, 10)
            .await
            .expect("listed")
            .pop()
            .expect("some");
        assert_eq!(
            (last.kind.as_str(), last.message.as_str()),
            ("deployment.finished", why.detail.as_str())
        );
        assert_eq!(
            reader.last_good_release(environment.id, None).await.expect("read"),
            None
        );
        drop(reader);
        let mut reader = tx(&store).await;
        let world = reader
            .load_world(environment.id)
            .await
            .expect("read")
            .expect("is there");
        assert!(world.last_failed);
        assert_eq!(world.deployment, None);
    })
    .await;
}

#[tokio::test]
async fn the_world_of_an_environment_is_whole() {
    with_store(async |_, store| {
        let (_, _, environment) = web(&store).await;
        let epoch = lead(&store, 1).await.expect("free");
        let first = deploy(&store, environment.id, second(1)).await;
        let mut scheduler = fenced(&store, epoch).await;
        scheduler.start_deployment(first.id, second(2)).await.expect("pending");
        for name in [StepName::Drain, StepName::Stop] {
            scheduler
                .step_started(first.id, name, None, second(3))
                .await
                .expect("written");
        }
        scheduler
            .finish_deployment(first.id, DeploymentEvent::Succeed, None, second(4))
            .await
            .expect("running");
        let found = status(first.generation, first.release);
        scheduler.save_status(environment.id, &found).await.expect("written");
        scheduler
            .set_route(&environment, RouteState::Serving, &[], None)
            .await
            .expect("written");
        scheduler.commit().await.expect("commits");
        let second_one = deploy(&store, environment.id, second(5)).await;

        let mut reader = tx(&store).await;
        let world = reader
            .load_world(environment.id)
            .await
            .expect("read")
            .expect("is there");
        assert_eq!(world.deployment.as_ref().map(|d| d.id), Some(second_one.id));
        assert_eq!(world.status, found);
        assert_eq!(
            world.draining,
            Some(first.id),
            "its old instances are still on their way out"
        );
        let numbers: Vec<i64> = world.releases.iter().map(|r| r.number.0).collect();
        assert_eq!(numbers, [2, 1]);
        assert!(world.release(first.release).is_some_and(|r| r.good));
        assert_eq!(world.route.map(|r| r.state), Some(RouteState::Serving));
        drop(reader);

        let mut scheduler = fenced(&store, epoch).await;
        for name in [StepName::Drain, StepName::Stop] {
            let done = scheduler.step_finished(first.id, name, StepState::Succeeded, None, second(6));
            done.await.expect("draining is noted after the success");
        }
        scheduler.commit().await.expect("commits");
        let mut reader = tx(&store).await;
        let world = reader
            .load_world(environment.id)
            .await
            .expect("read")
            .expect("is there");
        assert_eq!(world.draining, None);
    })
    .await;
}

#[tokio::test]
async fn a_release_that_has_instances_is_known_however_old_it_is() {
    with_store(async |_, store| {
        let (_, _, environment) = web(&store).await;
        let epoch = lead(&store, 1).await.expect("free");
        let first = deploy(&store, environment.id, second(1)).await;
        let mut last = first.clone();
        for s in 2..30 {
            last = deploy(&store, environment.id, second(s)).await;
        }
        let mut found = status(last.generation, last.release);
        found.instances[0].release = first.release;
        let mut scheduler = fenced(&store, epoch).await;
        let saved = scheduler.save_status(environment.id, &found).await;
        saved.expect("written");
        scheduler.commit().await.expect("commits");
        let world = tx(&store).await.load_world(environment.id).await;
        let world = world.expect("read").expect("is there");
        assert!(world.release(first.release).is_some());
        assert_eq!(world.releases.len(), 21, "and the newest ones");
    })
    .await;
}

#[tokio::test]
async fn environments_are_due_whose_intent_is_not_fulfilled() {
    with_store(async |_, store| {
        let team = add_team(&store, "default").await;
        add_app(&store, &team, "settled").await;
        let (_, unsettled) = add_app(&store, &team, "unsettled").await;
        let mut api = tx(&store).await;
        let intent = api.set_intent(unsettled.id, Generation(0), Desired::Stopped, None, second(9));
        intent.await.expect("nobody else");
        api.commit().await.expect("commits");
        let mut reader = tx(&store).await;
        assert_eq!(reader.due_environments().await.expect("read"), [unsettled.id]);
    })
    .await;
}

#[tokio::test]
async fn a_spec_is_kept_whole_and_its_generation_grows() {
    with_store(async |_, store| {
        let (_, app, environment) = web(&store).await;
        let spec = Spec {
            internal_port: 3000,
            env: BTreeMap::from([("GREETING".parse().expect("valid"), "grüß \"dich\"\n".to_owned())]),
            ..Spec::default()
        };
        let mut tx = tx(&store).await;
        assert_eq!(tx.set_spec(environment.id, &spec, true).await.expect("written"), 2);
        let read = tx
            .environment(app.id, &environment.name)
            .await
            .expect("read")
            .expect("is there");
        assert_eq!((read.spec, read.spec_generation, read.staged), (spec, 2, true));
        tx.set_staged(environment.id, false).await.expect("written");
        let gone = new_environment(&app, "gone");
        let refused = tx.set_staged(gone.id, true).await;
        assert!(matches!(refused, Err(StoreError::LostRace(_))), "{refused:?}");
    })
    .await;
}

#[tokio::test]
async fn a_volume_is_noted_once() {
    with_store(async |_, store| {
        let (_, _, environment) = web(&store).await;
        let mut tx = tx(&store).await;
        for _ in 0..2 {
            let volume = Volume {
                id: VolumeId::mint(second(1), &Counter),
                name: "data".parse().expect("valid"),
            };
            tx.ensure_volume(&environment, &volume, second(1)).await.expect("noted");
        }
        assert_eq!(tx.volumes(environment.id).await.expect("read").len(), 1);
    })
    .await;
}

#[tokio::test]
async fn images_of_good_wanted_and_serving_releases_are_kept_and_old_ones_are_not() {
    with_store(async |db, store| {
        let (_, _, environment) = web(&store).await;
        for n in 1..=14 {
            deploy(&store, environment.id, second(n)).await;
        }
        // 1 to 12 were good but for 5; 13 failed; 14 is under way; 1 still serves.
        let rows = "update releases set good = true where number <= 12 and number <> 5;
                    update environment_status set serving_release_id = (select id from releases where number = 1)";
        db.execute(rows).await.expect("written");
        let mut reader = tx(&store).await;
        let mut kept = reader.kept_images().await.expect("read");
        kept.sort_by_key(slipway_domain::image::Pin::engine_reference);
        let expected: Vec<_> = [1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 14].map(pin).to_vec();
        assert_eq!(kept, expected, "the ten newest good ones are 2 to 12 without 5");
        assert_eq!(reader.all_images().await.expect("read").len(), 14);
        let before = reader
            .last_good_release(environment.id, Some(slipway_domain::ReleaseNumber(6)))
            .await
            .expect("read");
        assert_eq!(before.map(|r| r.number.0), Some(4));
    })
    .await;
}

#[tokio::test]
async fn a_release_list_goes_on_where_the_page_before_ended() {
    with_store(async |_, store| {
        let (_, _, environment) = web(&store).await;
        for n in 1..=5 {
            deploy(&store, environment.id, second(n)).await;
        }
        let mut tx = tx(&store).await;
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = tx
                .releases(environment.id, &Page { limit: 2, after })
                .await
                .expect("read");
            after = page.last().map(|r| r.number);
            if page.is_empty() {
                break;
            }
            seen.extend(page.iter().map(|r| r.number.0));
        }
        assert_eq!(seen, [5, 4, 3, 2, 1]);
    })
    .await;
}
