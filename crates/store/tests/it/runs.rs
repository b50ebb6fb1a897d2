//! Runs of one-off commands and of commands by the clock.

use slipway_domain::cron::Schedule;
use slipway_domain::ids::RunId;
use slipway_domain::quantity::Span;
use slipway_domain::run::RunState;
use slipway_domain::spec::{Concurrency, CronJob, Spec};
use slipway_store::{Environment, Run, RunEnd, Store};

use crate::db::with_store;
use crate::fixture::{Counter, accept, deploy, fenced, lead, second, tx, web};
use crate::life::status;

/// Writes so many runs that ended, of a command by the clock or of hands, the oldest first.
async fn ended(store: &Store, environment: &Environment, cron: Option<&str>, count: i64) -> Vec<RunId> {
    let release = deploy(store, environment.id, second(1)).await.release;
    let mut all = Vec::new();
    for n in 0..count {
        let at = second(60 + n);
        let id = RunId::mint(at, &Counter);
        let command = vec!["/app/tick".to_owned()];
        let mut run = Run::new(id, environment, release, command, Span::from_secs(60));
        run.cron = cron.map(|name| (name.parse().expect("valid"), at));
        run.state = RunState::Succeeded;
        run.finished_at = Some(at);
        run.removed = true;
        let mut tx = tx(store).await;
        assert!(tx.insert_run(&run).await.expect("inserted"));
        tx.commit().await.expect("commits");
        all.push(id);
    }
    all
}

#[tokio::test]
async fn the_newest_runs_of_each_command_are_kept_and_what_still_has_a_container_is_never_forgotten() {
    with_store(async |_, store| {
        let (_, _, environment) = web(&store).await;
        let ticks = ended(&store, &environment, Some("tick"), 4).await;
        let by_hand = ended(&store, &environment, None, 3).await;
        let epoch = lead(&store, 1).await.expect("free");
        let release = deploy(&store, environment.id, second(2)).await.release;
        let open = RunId::mint(second(3), &Counter);
        let command = vec!["/app/long".to_owned()];
        let run = Run::new(open, &environment, release, command, Span::from_secs(60));
        let mut tx = tx(&store).await;
        assert!(tx.insert_run(&run).await.expect("inserted"));
        assert_eq!(tx.prune_runs(2).await.expect("pruned"), 3);
        for (id, is_kept) in ticks.iter().zip([false, false, true, true]) {
            assert_eq!(tx.run(*id).await.expect("read").is_some(), is_kept);
        }
        for (id, is_kept) in by_hand.iter().zip([false, true, true]) {
            assert_eq!(tx.run(*id).await.expect("read").is_some(), is_kept);
        }
        tx.commit().await.expect("commits");

        // It is the oldest of all, and goes only once it has ended and its container is gone.
        let mut tx = fenced(&store, epoch).await;
        assert!(tx.run(open).await.expect("read").is_some());
        let end = RunEnd {
            state: RunState::Succeeded,
            exit_code: Some(0),
            oom_killed: false,
            reason: None,
            output: Vec::new(),
        };
        tx.end_run(open, &end, second(100)).await.expect("ends");
        assert_eq!(
            tx.prune_runs(2).await.expect("pruned"),
            0,
            "its container is still there"
        );
        tx.run_removed(open).await.expect("noted");
        assert_eq!(tx.prune_runs(2).await.expect("pruned"), 1);
        assert!(tx.run(open).await.expect("read").is_none());
    })
    .await;
}

fn job(name: &str, schedule: &str) -> CronJob {
    CronJob {
        name: name.parse().expect("valid"),
        schedule: Schedule::parse(schedule, "UTC").expect("valid"),
        command: vec!["/app/tick".to_owned()],
        concurrency: Concurrency::Forbid,
        timeout: Span::from_secs(60),
    }
}

#[tokio::test]
async fn the_times_of_a_command_count_from_when_it_was_given_its_schedule() {
    with_store(async |_, store| {
        let (_, _, environment) = web(&store).await;
        let epoch = lead(&store, 1).await.expect("free");
        let (hourly, daily) = (job("tick", "0 * * * *"), job("tick", "0 3 * * *"));
        let mut tx = fenced(&store, epoch).await;
        let mut mark = async |job: &CronJob, now| tx.cron_mark(environment.id, job, now).await.expect("marked");
        assert_eq!(mark(&hourly, second(10)).await, second(10));
        assert_eq!(mark(&hourly, second(20)).await, second(10), "it is known");
        assert_eq!(mark(&daily, second(30)).await, second(30), "another schedule");
        assert_eq!(mark(&daily, second(40)).await, second(30));

        // What no release that serves has any more begins anew when it comes back.
        assert_eq!(
            tx.forget_cron_marks().await.expect("forgotten"),
            0,
            "nothing serves, nothing is known"
        );
        tx.commit().await.expect("commits");
        for (cron, gone) in [(vec![daily.clone()], 0), (vec![job("other", "0 * * * *")], 1)] {
            let mut tx = fenced(&store, epoch).await;
            let spec = Spec {
                cron,
                ..Spec::default()
            };
            let accepted = accept(&mut tx, environment.id, spec, second(50)).await;
            let serving = status(accepted.generation, accepted.release);
            tx.save_status(environment.id, &serving).await.expect("written");
            assert_eq!(tx.forget_cron_marks().await.expect("forgotten"), gone);
            tx.commit().await.expect("commits");
        }
        let mut tx = fenced(&store, epoch).await;
        let again = tx.cron_mark(environment.id, &daily, second(60)).await;
        assert_eq!(again.expect("marked"), second(60));
    })
    .await;
}
