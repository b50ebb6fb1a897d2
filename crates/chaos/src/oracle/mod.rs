//! Says which promises of the platform do not hold, given facts from outside.
//!
//! Promises: pure; it looks at everything, so that one run shows all that is wrong; no fact is taken for another: what
//! could not be looked at is not among the facts, and must have failed before.
//!
//! | | |
//! |---|---|
//! | I-01 | a deploy that was acknowledged is there, and has come to an end that says why |
//! | I-02 | of a release there run no more containers than are wanted |
//! | I-03 | no container is left over, and what is not the platform's is untouched |
//! | I-04 | no request is lost |
//! | I-06 | nothing is under way past its deadline |
//! | I-09 | the audit chain is valid and has each acknowledged change once |

mod facts;
mod timeline;

use std::collections::BTreeMap;
use std::fmt;

use chrono::TimeDelta;

pub use self::facts::{Acknowledged, ContainerFact, DeploymentFact, Facts, Labels, State, WantedFact};
pub use self::timeline::{LINES_MAX, Line, timeline};

/// How long after its deadline a deployment may still be ending.
pub const GRACE_SECONDS: i64 = 30;
/// Losses that are named one by one.
const LOSSES_NAMED_MAX: usize = 5;

/// A promise that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which one: `I-01` and so on.
    pub invariant: &'static str,
    /// What shows it.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.detail)
    }
}

/// Everything that does not hold, in the order of the invariants.
pub fn check(facts: &Facts) -> Vec<Violation> {
    let judged = [
        ("I-01", acknowledged(facts)),
        ("I-02", too_many(facts)),
        ("I-03", left_over(facts)),
        ("I-04", lost(facts)),
        ("I-06", stuck(facts)),
        ("I-09", audit(facts)),
    ];
    let violations = judged.into_iter().flat_map(|(invariant, details)| {
        let of = move |detail| Violation { invariant, detail };
        details.into_iter().map(of)
    });
    violations.collect()
}

fn acknowledged(facts: &Facts) -> Vec<String> {
    let known: BTreeMap<&str, &DeploymentFact> = facts.deployments.iter().map(|d| (d.id.as_str(), d)).collect();
    let judge = |acknowledged: &Acknowledged| {
        let id = &acknowledged.deployment;
        let Some(deployment) = known.get(id.as_str()) else {
            return Some(format!("deployment {id}, acknowledged at {}, is gone", acknowledged.at));
        };
        if deployment.environment != acknowledged.environment {
            return Some(format!(
                "deployment {id} was acknowledged for {} and is of {}",
                acknowledged.environment, deployment.environment
            ));
        }
        if !deployment.state.is_final() {
            return Some(format!("deployment {id} is {}", deployment.state));
        }
        if deployment.finished_at.is_none() {
            return Some(format!("deployment {id} is {} but has no end", deployment.state));
        }
        let no_reason = deployment.state == State::Failed && deployment.reason.as_ref().is_none_or(String::is_empty);
        no_reason.then(|| format!("deployment {id} failed without a reason"))
    };
    facts.acknowledged.iter().filter_map(judge).collect()
}

/// Containers of one release in one environment.
#[derive(Debug, Default)]
struct Found<'a> {
    running: Vec<&'a str>,
    stopped: Vec<&'a str>,
}

/// By environment and release.
type Key<'a> = (&'a str, &'a str);

fn found(facts: &Facts) -> BTreeMap<Key<'_>, Found<'_>> {
    let mut found: BTreeMap<Key<'_>, Found<'_>> = BTreeMap::new();
    for container in &facts.containers {
        let Some(labels) = &container.labels else { continue };
        let of = found
            .entry((labels.environment.as_str(), labels.release.as_str()))
            .or_default();
        let place = if container.running {
            &mut of.running
        } else {
            &mut of.stopped
        };
        place.push(&container.id);
    }
    found
}

fn wanted(facts: &Facts) -> BTreeMap<Key<'_>, usize> {
    let mut wanted: BTreeMap<Key<'_>, usize> = BTreeMap::new();
    for fact in &facts.wanted {
        *wanted
            .entry((fact.environment.as_str(), fact.release.as_str()))
            .or_default() += fact.replicas as usize;
    }
    wanted
}

fn too_many(facts: &Facts) -> Vec<String> {
    let wanted = wanted(facts);
    let mut details = Vec::new();
    for ((environment, release), found) in found(facts) {
        // What is not wanted at all is another invariant.
        let Some(most) = wanted.get(&(environment, release)) else {
            continue;
        };
        let (count, names) = (found.running.len(), found.running.join(", "));
        if count > *most {
            details.push(format!(
                "{count} containers of release {release} run in {environment}, {most} are wanted: {names}"
            ));
        }
    }
    details
}

fn left_over(facts: &Facts) -> Vec<String> {
    let wanted = wanted(facts);
    let mut details = Vec::new();
    for ((environment, release), found) in found(facts) {
        let all = [found.running.as_slice(), &found.stopped].concat();
        match wanted.get(&(environment, release)) {
            None => details.push(format!(
                "release {release} is not wanted in {environment} and has {}",
                all.join(", ")
            )),
            // That too many run is another invariant.
            Some(most) if found.running.len() <= *most && all.len() > *most => details.push(format!(
                "of release {release} in {environment} stopped containers are left: {}",
                found.stopped.join(", ")
            )),
            Some(_) => {}
        }
    }
    if !facts.decoy_alive {
        details.push("the container that is not the platform's is gone".to_owned());
    }
    details
}

fn lost(facts: &Facts) -> Vec<String> {
    let report = &facts.report;
    let mut details = Vec::new();
    if report.lost_count > 0 {
        let named: Vec<String> = report
            .lost
            .iter()
            .take(LOSSES_NAMED_MAX)
            .map(ToString::to_string)
            .collect();
        let (lost, sent) = (report.lost_count, report.sent);
        details.push(format!("{lost} of {sent} requests lost: {}", named.join("; ")));
    }
    if report.unsent > 0 {
        details.push(format!("the measurement failed: {} requests unsent", report.unsent));
    }
    let told = report.answered + report.lost_count;
    if report.sent != told {
        details.push(format!("the measurement failed: {} sent, {told} ended", report.sent));
    }
    details
}

fn stuck(facts: &Facts) -> Vec<String> {
    let grace = TimeDelta::seconds(GRACE_SECONDS);
    let judge = |deployment: &DeploymentFact| {
        let deadline = deployment.deadline?;
        let is_late = !deployment.state.is_final() && facts.now > deadline + grace;
        let (id, state, now) = (&deployment.id, deployment.state, facts.now);
        is_late.then(|| format!("deployment {id} is {state} at {now}, its deadline was {deadline}"))
    };
    facts.deployments.iter().filter_map(judge).collect()
}

fn audit(facts: &Facts) -> Vec<String> {
    let mut details = Vec::new();
    if !facts.audit_valid {
        details.push("the chain is broken".to_owned());
    }
    let wrong = facts.audit_mutations.iter().filter(|(_, times)| **times != 1);
    details.extend(wrong.map(|(mutation, times)| format!("{mutation} is recorded {times} times")));
    details
}

#[cfg(test)]
mod tests;
