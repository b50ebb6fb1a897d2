//! The checks that an app declares for itself: HTTP requests to one instance of the new release, before any traffic.

use std::time::Duration;

use slipway_domain::name::HostName;
use slipway_domain::release::Release;
use slipway_domain::spec::Smoke;
use slipway_store::EnvironmentWorld;

use crate::operate::OpError;
use crate::probe::{Question, probe};
use crate::settings::Deps;

/// One check may take so long.
const CHECK_MAX: Duration = Duration::from_secs(10);
/// So much of an answer is read for the text it is to contain.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// Makes all checks, one after the other; the first that fails ends it.
pub(crate) async fn check(deps: &Deps, rows: &EnvironmentWorld, release: &Release) -> Result<(), OpError> {
    let environment = &rows.environment;
    let instances = deps.engine.observe(Some(environment.id)).await?;
    let is_own = |id| rows.release(id).is_some_and(|r| r.root() == release.root());
    let address = instances
        .iter()
        .filter(|i| i.is_running() && (i.release == release.id || is_own(i.release)))
        .find_map(|i| i.address)
        .ok_or(OpError::Gone)?;
    let host = HostName::of(&environment.app_name, &environment.name, &deps.settings.base_domain);
    for smoke in &release.spec.deploy.smoke {
        let question = Question {
            address,
            path: Some(smoke.path.clone()),
            host: host.to_string(),
            timeout: CHECK_MAX,
            body_bytes_max: BODY_BYTES_MAX,
        };
        let answer = probe(&question, deps.clock.now()).await.seen;
        judge(smoke, answer.status, answer.body.as_deref(), answer.error.as_deref()).map_err(OpError::Smoke)?;
    }
    Ok(())
}

/// What is wrong with an answer, if anything is.
fn judge(smoke: &Smoke, status: Option<u16>, body: Option<&str>, error: Option<&str>) -> Result<(), String> {
    let path = &smoke.path;
    let Some(status) = status else {
        return Err(format!("GET {path}: {}", error.unwrap_or("no answer")));
    };
    if status != smoke.status {
        return Err(format!("GET {path} answered {status}, not {}", smoke.status));
    }
    match &smoke.contains {
        Some(text) if !body.unwrap_or_default().contains(text.as_str()) => Err(format!(
            "GET {path} answered {status}, and its body does not contain `{text}`"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_judged_by_status_and_text() {
        let smoke = |status, contains: Option<&str>| Smoke {
            path: "/login".into(),
            status,
            contains: contains.map(str::to_owned),
        };
        let judged = |smoke: &Smoke, status, body| judge(smoke, status, body, Some("connection refused"));
        assert_eq!(judged(&smoke(200, None), Some(200), None), Ok(()));
        assert_eq!(
            judged(&smoke(200, Some("Sign in")), Some(200), Some("<h1>Sign in</h1>")),
            Ok(())
        );
        for (smoke, status, body, part) in [
            (smoke(200, None), Some(500), None, "answered 500, not 200"),
            (smoke(302, None), Some(200), None, "answered 200, not 302"),
            (
                smoke(200, Some("Sign in")),
                Some(200),
                Some("oops"),
                "does not contain `Sign in`",
            ),
            (smoke(200, None), None, None, "connection refused"),
        ] {
            let why = judged(&smoke, status, body).expect_err(part);
            assert!(why.contains(part), "{why}");
        }
    }
}
