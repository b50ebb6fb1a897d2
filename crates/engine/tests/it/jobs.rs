//! One-off commands: once for each release and purpose, with what came of them.

use slipway_engine::{Engine, EngineError, GroupSpec, Job, JobExit, JobState};

use crate::place::{Foreign, LOCAL_IMAGE, Place, docker, until};

fn command(how: &str) -> Vec<String> {
    ["/app", "release", how].map(str::to_owned).into()
}

fn name(group: &GroupSpec) -> String {
    format!("slipway-job-{}-release_command", group.release)
}

async fn ended(place: &Place, group: &GroupSpec) -> JobExit {
    until("the command ends", async || {
        match place
            .engine
            .job(Job::Release(group.release), 50)
            .await
            .expect("the engine answers")
        {
            JobState::Ended(exit) => Some(exit),
            _ => None,
        }
    })
    .await
}

#[tokio::test]
async fn a_command_runs_once_however_often_it_is_asked_for() {
    let place = Place::with_network().await;
    let group = place.group("").await;
    let state = place.engine.job(Job::Release(group.release), 50).await;
    assert_eq!(state, Ok(JobState::Absent));
    place
        .engine
        .start_job(&group, Job::Release(group.release), &command("ok"))
        .await
        .expect("started");
    let exit = ended(&place, &group).await;
    assert_eq!((exit.exit_code, exit.oom_killed), (0, false));
    assert_eq!(exit.log_tail, ["release command: ok"]);
    let record = ["inspect", "--format", "{{.Id}} {{.State.StartedAt}}", &name(&group)];
    let first = docker(&record);
    place
        .engine
        .start_job(&group, Job::Release(group.release), &command("ok"))
        .await
        .expect("it ran");
    assert_eq!(docker(&record), first);
    let another = place.group("").await;
    let state = place.engine.job(Job::Release(another.release), 50).await;
    assert_eq!(state, Ok(JobState::Absent), "of another release");
}

#[tokio::test]
async fn a_command_that_fails_tells_its_exit_code_and_last_words() {
    let place = Place::with_network().await;
    let group = place.group("").await;
    place
        .engine
        .start_job(&group, Job::Release(group.release), &command("fail"))
        .await
        .expect("started");
    let exit = ended(&place, &group).await;
    assert_eq!(
        (exit.exit_code, exit.log_tail),
        (4, vec!["release command: fail".to_owned()])
    );
    assert_eq!(place.observe().await, [], "a command is no instance");
}

#[tokio::test]
async fn a_command_under_way_can_be_removed() {
    let place = Place::with_network().await;
    let group = place.group("").await;
    place
        .engine
        .start_job(&group, Job::Release(group.release), &command("hang"))
        .await
        .expect("started");
    assert_eq!(
        place.engine.job(Job::Release(group.release), 50).await,
        Ok(JobState::Running)
    );
    place
        .engine
        .start_job(&group, Job::Release(group.release), &command("hang"))
        .await
        .expect("it runs");
    place
        .engine
        .remove_job(Job::Release(group.release))
        .await
        .expect("removed");
    assert_eq!(
        place.engine.job(Job::Release(group.release), 50).await,
        Ok(JobState::Absent)
    );
    place
        .engine
        .remove_job(Job::Release(group.release))
        .await
        .expect("gone already");
}

#[tokio::test]
async fn a_command_runs_as_restricted_as_the_app() {
    let place = Place::with_network().await;
    let group = place.group("").await;
    place
        .engine
        .start_job(&group, Job::Release(group.release), &command("hang"))
        .await
        .expect("started");
    let format = "{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.Memory}} \
                  {{.HostConfig.NetworkMode}} {{.HostConfig.RestartPolicy.Name}}";
    let said = docker(&["inspect", "--format", format, &name(&group)]);
    let network = format!("slipway-{}", place.environment());
    assert_eq!(said, format!("65532:65532 true [ALL] 67108864 {network} no"));
}

#[tokio::test]
async fn a_program_that_is_not_in_the_image_ends_as_in_a_shell_and_says_so() {
    let place = Place::with_network().await;
    let group = place.group("").await;
    let command = ["/no-such-program".to_owned()];
    let answer = place
        .engine
        .start_job(&group, Job::Release(group.release), &command)
        .await;
    answer.expect("the first process, which starts the command, is the engine's own");
    let exit = ended(&place, &group).await;
    assert_eq!(exit.exit_code, 127);
    assert!(exit.log_tail.iter().any(|l| l.contains("/no-such-program")), "{exit:?}");
}

#[tokio::test]
async fn somebody_elses_container_of_that_name_is_not_the_command() {
    let place = Place::with_network().await;
    let group = place.group("").await;
    let foreign = Foreign(name(&group));
    docker(&["create", "--name", &foreign.0, LOCAL_IMAGE]);
    let record = ["inspect", "--format", "{{.Id}} {{.State.Status}}", &foreign.0];
    let before = docker(&record);
    assert_eq!(
        place.engine.job(Job::Release(group.release), 50).await,
        Ok(JobState::Absent)
    );
    let answer = place
        .engine
        .start_job(&group, Job::Release(group.release), &command("ok"))
        .await;
    assert!(matches!(answer, Err(EngineError::Refused(_))), "{answer:?}");
    place
        .engine
        .remove_job(Job::Release(group.release))
        .await
        .expect("nothing of ours");
    assert_eq!(docker(&record), before);
}
