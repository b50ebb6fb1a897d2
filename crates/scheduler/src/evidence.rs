//! Gathers what can still be learnt about a failure before anything of it is cleaned up.

use slipway_domain::deployment::Reason;
use slipway_domain::observed::Instance;
use slipway_domain::release::Release;
use slipway_engine::{Job, JobState, job_container};
use slipway_planner::diagnose::{Evidence, diagnose};
use slipway_planner::plan::Failure;
use slipway_store::EnvironmentWorld;

use crate::board::Board;
use crate::group::user_is_forced;
use crate::settings::Deps;

/// So many of the app's last lines go into a reason.
const LOG_LINES_MAX: u32 = 50;

/// The reason of a failure, with all evidence that can be had.
pub(crate) async fn reason(
    deps: &Deps,
    rows: &EnvironmentWorld,
    board: &Board,
    release: &Release,
    instances: &[Instance],
    failure: &Failure,
) -> Reason {
    let spec = &release.spec;
    let mut evidence = Evidence {
        app: rows.environment.app_name.clone(),
        port: spec.internal_port,
        health_path: spec.health.path.clone(),
        health_deadline: spec.health.deadline,
        memory: spec.resources.memory,
        read_only: spec.security.read_only,
        forced_user: user_is_forced(spec.security.user),
        served: rows.status.serving == Some(release.id),
        state: None,
        last_probe: None,
        listening: Vec::new(),
        log_tail: Vec::new(),
    };
    match failure {
        Failure::Exited { instance } | Failure::Unhealthy { instance } => {
            evidence.state = instances.iter().find(|i| i.id == *instance).map(|i| i.state.clone());
            evidence.last_probe = board.last_probe(instance);
            evidence.listening = deps.engine.listening(instance).await;
            evidence.log_tail = deps.engine.log_tail(instance, LOG_LINES_MAX).await.unwrap_or_default();
        }
        Failure::Command { .. } => {
            let job = Job::Release(release.id);
            evidence.log_tail = if let Ok(JobState::Ended(exit)) = deps.engine.job(job, LOG_LINES_MAX).await {
                exit.log_tail
            } else {
                let written = deps.engine.log_tail(&job_container(job), LOG_LINES_MAX).await;
                written.unwrap_or_default()
            };
        }
        Failure::Canary { .. } => {
            let own = instances.iter().find(|i| i.release == release.id);
            if let Some(instance) = own {
                evidence.log_tail = deps
                    .engine
                    .log_tail(&instance.id, LOG_LINES_MAX)
                    .await
                    .unwrap_or_default();
            }
        }
        Failure::Operation { .. } | Failure::Overdue { .. } | Failure::Cancelled { .. } => {}
    }
    diagnose(failure, &evidence)
}
