//! `/v1/apps/{app}/spec`.

pub(crate) mod get;
pub(crate) mod put;

use axum::response::Response;
use http::header;
use slipway_domain::release::ReleaseCause;
use slipway_domain::spec::Spec;
use slipway_store::{App, Environment, Tx};
use slipway_wire::Code;

use crate::audit::Target;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::etag::etag;
use crate::release::Place;
use crate::staging::ChangeParams;
use crate::wait::Wait;

/// Which environment is read.
#[derive(Debug, Default, serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct WhereParams {
    /// The environment; `production` if not given.
    #[param(value_type = Option<String>)]
    pub(crate) environment: Option<slipway_domain::name::EnvironmentName>,
}

/// A changed spec of a locked environment.
pub(crate) struct SpecChange {
    pub(crate) app: App,
    pub(crate) environment: Environment,
    pub(crate) spec: Spec,
    pub(crate) cause: ReleaseCause,
}

impl Call {
    /// Writes a changed spec, makes or stages what follows, and answers.
    pub(crate) async fn change_spec(
        &self,
        mut tx: Tx,
        change: SpecChange,
        params: &ChangeParams,
        wait: Wait,
    ) -> Result<Response> {
        let SpecChange {
            app,
            environment,
            spec,
            cause,
        } = change;
        if spec.deploy.promote_to.as_ref() == Some(&environment.name) {
            let detail =
                "An image cannot go on to the environment that it comes from. Name another one in `deploy.promote_to`.";
            return Err(ApiError::member(Code::InvalidSpec, "/deploy/promote_to", detail));
        }
        let changed = spec != environment.spec;
        let mut generation = environment.spec_generation;
        if changed {
            generation = tx.set_spec(environment.id, &spec, environment.staged).await?;
            let target = Target::new(
                "environment",
                environment.id,
                format!("{}/{}", app.name, environment.name),
            );
            let action = format!("{}.change", cause.as_str());
            // Names only: values of variables may be confidential even though they are no secrets.
            let change =
                serde_json::json!({ "generation": generation, "keys": changed_keys(&environment.spec, &spec) });
            self.audit(&mut tx, Some(app.team), &action, target, Some(change))
                .await?;
        }
        let place = Place {
            app: &app,
            environment: &environment,
        };
        let deployment = self
            .settle(&mut tx, &place, &spec, (cause, changed, params.apply.unwrap_or(true)))
            .await?;
        tx.commit().await?;
        if deployment.is_some() {
            self.wake();
        }
        let mut response = self.answer_change(deployment, wait).await?;
        response.headers_mut().insert(header::ETAG, etag(generation));
        Ok(response)
    }
}

/// The places where two specs differ, without values.
fn changed_keys(before: &Spec, after: &Spec) -> Vec<String> {
    let (before, after) = (before.to_json(), after.to_json());
    let mut keys = Vec::new();
    differences("", &before, &after, &mut keys);
    keys
}

fn differences(at: &str, before: &serde_json::Value, after: &serde_json::Value, keys: &mut Vec<String>) {
    let (Some(old), Some(new)) = (before.as_object(), after.as_object()) else {
        if before != after {
            keys.push(at.to_owned());
        }
        return;
    };
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let null = serde_json::Value::Null;
    for name in names {
        let (old, new) = (old.get(name).unwrap_or(&null), new.get(name).unwrap_or(&null));
        differences(&format!("{at}/{name}"), old, new, keys);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_named_without_its_value() {
        let before = Spec::default();
        let mut after = before.clone();
        after.scale.min = 3;
        after.env.insert("TOKEN".parse().expect("name"), "hunter2".into());
        assert_eq!(changed_keys(&before, &after), ["/env/TOKEN", "/scale/min"]);
        assert!(changed_keys(&after, &after).is_empty());
    }
}
