//! Runs of one-off commands and of commands by the clock.

use slipway_domain::ids::RunId;
use slipway_domain::quantity::Span;
use slipway_domain::run::RunState;
use slipway_store::{Environment, Run, RunEnd, Store};

use crate::db::with_store;
use crate::fixture::{Counter, deploy, fenced, lead, second, tx, web};

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
