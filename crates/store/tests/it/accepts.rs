//! Acceptance: a later deploy takes the place of an earlier one, and never leaves two unfinished.

use slipway_domain::deployment::{DeploymentEvent, DeploymentState, StepName, StepState};
use slipway_domain::spec::Spec;
use slipway_store::{Constraint, Desired, Page, StoreError};

use crate::db::with_store;
use crate::fixture::{accept, deploy, fenced, lead, second, tx, web};

#[tokio::test(flavor = "multi_thread")]
async fn two_concurrent_accepts_leave_exactly_one_unfinished() {
    with_store(async |_, store| {
        let (_, app, environment) = web(&store).await;
        deploy(&store, environment.id, second(1)).await;
        let accepts = (2..8).map(|s| {
            let (store, id) = (store.clone(), environment.id);
            tokio::spawn(async move { deploy(&store, id, second(s)).await })
        });
        for accepted in accepts.collect::<Vec<_>>() {
            accepted.await.expect("every accept goes through");
        }

        let mut tx = tx(&store).await;
        let all = tx
            .deployments(app.id, None, &Page { limit: 50, after: None })
            .await
            .expect("listed");
        let count = |state| all.iter().filter(|d| d.state == state).count();
        assert_eq!(
            (count(DeploymentState::Pending), count(DeploymentState::Superseded)),
            (1, 6)
        );
        let environment = tx
            .environment_by_id(environment.id)
            .await
            .expect("read")
            .expect("is there");
        let open = all.iter().find(|d| d.state == DeploymentState::Pending).expect("one");
        assert_eq!(
            environment.release,
            Some(open.release),
            "the intent is the unfinished one's"
        );
        assert_eq!(environment.generation, open.generation);
        let mut numbers: Vec<i64> = all.iter().map(|d| d.release_number.0).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7], "release numbers have no gaps");
    })
    .await;
}

#[tokio::test]
async fn the_database_refuses_a_second_unfinished_deployment() {
    with_store(async |_, store| {
        let (_, _, environment) = web(&store).await;
        let first = deploy(&store, environment.id, second(1)).await;
        let mut tx = tx(&store).await;
        let second = slipway_store::NewDeployment {
            state: slipway_domain::deployment::DeploymentState::Pending,
            id: slipway_domain::ids::DeploymentId::mint(second(2), &crate::fixture::Counter),
            team: first.team,
            app: first.app,
            environment: first.environment,
            release: first.release,
            generation: first.generation,
            strategy: first.strategy,
            cause: first.cause,
            message: None,
            trace_context: None,
            created_at: second(2),
            created_by: first.created_by,
        };
        let refused = tx.insert_deployment(&second).await;
        assert!(
            matches!(refused, Err(StoreError::Duplicate(Constraint::UnfinishedDeployment))),
            "{refused:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_superseded_deployment_has_its_steps_closed_and_says_why() {
    with_store(async |_, store| {
        let (_, _, environment) = web(&store).await;
        let first = deploy(&store, environment.id, second(1)).await;
        let epoch = lead(&store, 1).await.expect("free");
        let mut scheduler = fenced(&store, epoch).await;
        scheduler.start_deployment(first.id, second(2)).await.expect("pending");
        scheduler
            .step_started(first.id, StepName::Pull, Some("pulling"), second(2))
            .await
            .expect("written");
        scheduler.commit().await.expect("commits");
        deploy(&store, environment.id, second(5)).await;

        let mut tx = tx(&store).await;
        let first = tx.deployment(first.id).await.expect("read").expect("is there");
        assert_eq!(first.state, DeploymentState::Superseded);
        assert_eq!(first.finished_at, Some(second(5)));
        let step = &first.steps[0];
        assert_eq!((step.state, step.finished_at), (StepState::Skipped, Some(second(5))));
        assert_eq!(step.detail.as_deref(), Some("superseded"));
        let events = tx.events_after(first.id, 0, 10).await.expect("listed");
        let kinds: Vec<&str> = events.iter().map(|e| e.kind.as_str()).collect();
        assert_eq!(kinds, ["deployment.started", "deployment.finished"]);
        assert!(events[1].message.contains("later deployment"), "{}", events[1].message);
    })
    .await;
}

#[tokio::test]
async fn a_scheduler_that_has_not_heard_of_the_end_writes_nothing_more() {
    with_store(async |_, store| {
        let (_, _, environment) = web(&store).await;
        let first = deploy(&store, environment.id, second(1)).await;
        let epoch = lead(&store, 1).await.expect("free");
        let mut scheduler = fenced(&store, epoch).await;
        scheduler.start_deployment(first.id, second(2)).await.expect("pending");
        scheduler.commit().await.expect("commits");
        deploy(&store, environment.id, second(3)).await;

        let lost = |r: Result<(), StoreError>| matches!(r, Err(StoreError::LostRace(_)));
        let mut scheduler = fenced(&store, epoch).await;
        assert!(lost(scheduler.start_deployment(first.id, second(4)).await));
        assert!(lost(
            scheduler.step_started(first.id, StepName::Start, None, second(4)).await
        ));
        let state = StepState::Succeeded;
        assert!(lost(
            scheduler
                .step_finished(first.id, StepName::Pull, state, None, second(4))
                .await
        ));
        let event = DeploymentEvent::Succeed;
        assert!(lost(
            scheduler.finish_deployment(first.id, event, None, second(4)).await
        ));
        drop(scheduler);
        let mut tx = tx(&store).await;
        let release = tx.release(first.release).await.expect("read").expect("is there");
        assert!(!release.good, "what never served is no target for a rollback");
    })
    .await;
}

/// A step is being written while the deployment is superseded: the one waits for the other, and no step stays open.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_written_while_a_deploy_is_accepted_is_closed_with_the_rest() {
    with_store(async |db, store| {
        let (_, _, environment) = web(&store).await;
        let first = deploy(&store, environment.id, second(1)).await;
        let epoch = lead(&store, 1).await.expect("free");
        let mut scheduler = fenced(&store, epoch).await;
        scheduler.start_deployment(first.id, second(2)).await.expect("pending");
        scheduler.commit().await.expect("commits");
        let mut scheduler = fenced(&store, epoch).await;
        scheduler
            .step_started(first.id, StepName::Pull, None, second(2))
            .await
            .expect("written");
        let accepting = tokio::spawn({
            let (store, id) = (store.clone(), environment.id);
            async move { deploy(&store, id, second(3)).await }
        });
        db.until_somebody_waits_for_a_lock().await;
        // The scheduler goes on in the rows of this environment while the other waits: no deadlock.
        let row = scheduler
            .environment_by_id(environment.id)
            .await
            .expect("read")
            .expect("is there");
        scheduler
            .set_route(&row, slipway_domain::routing::RouteState::Starting, &[], None)
            .await
            .expect("no deadlock");
        scheduler.commit().await.expect("commits");
        accepting.await.expect("accepted");
        let open = "select count(*) from deployment_steps where state = 'running'";
        assert_eq!(db.number(open).await, 0);
    })
    .await;
}

/// The other way round: the accept came first, and the step finds the deployment ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_waited_for_an_accept_is_refused() {
    with_store(async |db, store| {
        let (_, _, environment) = web(&store).await;
        let first = deploy(&store, environment.id, second(1)).await;
        let epoch = lead(&store, 1).await.expect("free");
        let mut scheduler = fenced(&store, epoch).await;
        scheduler.start_deployment(first.id, second(2)).await.expect("pending");
        scheduler.commit().await.expect("commits");
        let mut accepting = tx(&store).await;
        accept(&mut accepting, environment.id, Spec::default(), second(3)).await;
        let writing = tokio::spawn({
            let store = store.clone();
            async move {
                let mut scheduler = fenced(&store, epoch).await;
                let written = scheduler.step_started(first.id, StepName::Pull, None, second(4)).await;
                scheduler.commit().await.expect("commits");
                written
            }
        });
        db.until_somebody_waits_for_a_lock().await;
        accepting.commit().await.expect("commits");
        let written = writing.await.expect("no panic");
        assert!(matches!(written, Err(StoreError::LostRace(_))), "{written:?}");
    })
    .await;
}

#[tokio::test]
async fn an_ended_deployment_cannot_be_aborted_and_an_unfinished_one_can() {
    with_store(async |_, store| {
        let (_, _, environment) = web(&store).await;
        let deployment = deploy(&store, environment.id, second(1)).await;
        let mut tx = tx(&store).await;
        assert!(
            tx.abort_deployment(deployment.id, "ana", second(2))
                .await
                .expect("asked")
        );
        assert!(
            !tx.abort_deployment(deployment.id, "ana", second(3))
                .await
                .expect("asked")
        );
        let deployment = tx.deployment(deployment.id).await.expect("read").expect("is there");
        assert_eq!(deployment.state, DeploymentState::Aborted);
        assert_eq!(deployment.finished_at, Some(second(2)));
    })
    .await;
}

#[tokio::test]
async fn an_intent_decided_on_an_old_generation_is_refused() {
    with_store(async |_, store| {
        let (_, _, environment) = web(&store).await;
        let mut tx = tx(&store).await;
        let from = environment.generation;
        let next = tx
            .set_intent(environment.id, from, Desired::Stopped, None, second(9))
            .await
            .expect("nobody else");
        assert_eq!(next, from.next());
        let late = tx
            .set_intent(environment.id, from, Desired::Running, None, second(9))
            .await;
        assert!(matches!(late, Err(StoreError::LostRace(_))), "{late:?}");
    })
    .await;
}

#[tokio::test]
async fn what_is_not_committed_is_not_there() {
    with_store(async |_, store| {
        let (_, _, environment) = web(&store).await;
        let mut dropped = tx(&store).await;
        let deployment = accept(&mut dropped, environment.id, Spec::default(), second(1)).await;
        drop(dropped);
        let mut tx = tx(&store).await;
        assert_eq!(tx.deployment(deployment.id).await.expect("read"), None);
        let same = tx
            .environment_by_id(environment.id)
            .await
            .expect("read")
            .expect("is there");
        assert_eq!(same, environment);
    })
    .await;
}
