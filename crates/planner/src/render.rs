//! A plan as lines a person can review: for tests and for logs.

use std::collections::BTreeMap;

use slipway_domain::ids::ReleaseId;

use crate::plan::{Failure, Op, Plan, Step};

/// One line per step; releases by the names given.
pub fn render(plan: &Plan, names: &BTreeMap<ReleaseId, String>) -> String {
    plan.steps.iter().map(|s| step(s, names)).collect::<Vec<_>>().join("\n")
}

fn step(step: &Step, names: &BTreeMap<ReleaseId, String>) -> String {
    match step {
        Step::Begin(_) => "begin".into(),
        Step::Mark(_, name, state) => format!("mark {} {}", name.as_str(), state.as_str()),
        Step::Start(op) => operation(op, names),
        Step::Publish(route) => {
            let state = format!("{:?}", route.state).to_lowercase();
            let ids: Vec<&str> = route.instances.iter().map(String::as_str).collect();
            let split = route
                .split
                .map_or(String::new(), |s| format!(", {}% to {}", s.percent, s.release));
            format!("{}{split}", format!("publish {state} {}", ids.join(" ")).trim_end())
        }
        Step::Canary(_, step, _) => format!("canary step {step}"),
        Step::RollBack { from, to, failure } => {
            let name = |r: &ReleaseId| names.get(r).cloned().unwrap_or_else(|| r.to_string());
            format!("roll back from {} to {}: {}", name(from), name(to), why(failure))
        }
        Step::Succeed(_) => "succeed".into(),
        Step::Fail(_, failure) => format!("fail {}", why(failure)),
        Step::Scale(count) => format!("scale to {count}"),
        Step::Rest(rest) => format!("rest {}", rest.as_str()),
        Step::Raise(kind, _, message) => format!("raise {}: {message}", kind.as_str()),
        Step::Clear(kind) => format!("clear {}", kind.as_str()),
        Step::PassNumber(number) => format!("pass {number}"),
        Step::Purge => "purge".into(),
    }
}

fn operation(op: &Op, names: &BTreeMap<ReleaseId, String>) -> String {
    let name = |r: &ReleaseId| names.get(r).cloned().unwrap_or_else(|| r.to_string());
    match op {
        Op::Pull(r) => format!("pull {}", name(r)),
        Op::Command(r) => format!("run release command of {}", name(r)),
        Op::RemoveCommand(r) => format!("remove release command of {}", name(r)),
        Op::Apply(r, slots) => {
            let slots: Vec<String> = slots.iter().map(ToString::to_string).collect();
            format!("start {} slots {}", name(r), slots.join(","))
        }
        Op::Smoke(r) => format!("smoke {}", name(r)),
        Op::Resume(id) => format!("resume {id}"),
        Op::Pause(id) => format!("pause {id}"),
        Op::Stop(id) => format!("stop {id}"),
        Op::Remove(id) => format!("remove {id}"),
        Op::Clean => "clean".into(),
    }
}

fn why(failure: &Failure) -> String {
    match failure {
        Failure::Operation { code, detail } => format!("{}: {detail}", code.as_str()),
        Failure::Command { exit_code: Some(code) } => format!("release command exit {code}"),
        Failure::Command { exit_code: None } => "release command overdue".into(),
        Failure::Exited { instance } => format!("{instance} exited"),
        Failure::Unhealthy { instance } => format!("{instance} unhealthy"),
        Failure::Overdue { step } => format!("{} overdue", step.as_str()),
        Failure::Canary { detail } => format!("canary: {detail}"),
        Failure::Cancelled { .. } => "cancelled".into(),
    }
}
