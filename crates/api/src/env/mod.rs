//! `/v1/apps/{app}/env`: the variables, which are part of the spec.

pub(crate) mod get;
pub(crate) mod patch;
pub(crate) mod put;

use std::collections::BTreeMap;

use slipway_domain::name::VariableName;
use slipway_domain::spec::Spec;

use crate::error::Result;

/// The spec with other variables, checked as a whole.
fn with_env(spec: &Spec, env: BTreeMap<VariableName, String>) -> Result<Spec> {
    let changed = Spec { env, ..spec.clone() };
    Ok(Spec::from_json(&changed.to_json())?)
}

/// The variables after a change: `None` removes one.
fn merged(
    mut env: BTreeMap<VariableName, String>,
    change: BTreeMap<VariableName, Option<String>>,
) -> BTreeMap<VariableName, String> {
    for (name, value) in change {
        match value {
            Some(value) => drop(env.insert(name, value)),
            None => drop(env.remove(&name)),
        }
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_removes_and_what_is_left_out_stays() {
        let name = |n: &str| n.parse::<VariableName>().expect("name");
        let env = BTreeMap::from([(name("A"), "1".into()), (name("B"), "2".into())]);
        let change = BTreeMap::from([(name("B"), None), (name("C"), Some("3".into())), (name("D"), None)]);
        let after = merged(env, change);
        assert_eq!(
            after,
            BTreeMap::from([(name("A"), "1".into()), (name("C"), "3".into())])
        );
    }

    #[test]
    fn names_of_the_platform_are_refused() {
        let env = BTreeMap::from([("PORT".parse().expect("name"), "1".into())]);
        assert!(with_env(&Spec::default(), env).is_err());
    }
}
