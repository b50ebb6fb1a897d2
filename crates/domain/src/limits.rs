//! What a team may use in all, and what a spec may come to use.
//!
//! Promises: what is allowed is allowed at its most: instances that follow the load never lead beyond it. Instances that
//! a rollout runs beside the old ones for a while do not count.

use crate::quantity::{Bytes, MilliCpu};
use crate::spec::Spec;

/// What a team may use in all; what is not given is not limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TeamLimits {
    /// Instances.
    pub instances: Option<u32>,
    /// Memory of all instances.
    pub memory: Option<Bytes>,
    /// CPU of all instances.
    pub cpu: Option<MilliCpu>,
}

/// What environments may come to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Use {
    /// Instances.
    pub instances: u64,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// CPU in thousandths of a core.
    pub cpu_milli: u64,
}

impl Use {
    /// The most that a spec leads to.
    pub fn most(spec: &Spec) -> Self {
        let instances = u64::from(spec.scale.ceiling());
        Self {
            instances,
            memory_bytes: instances.saturating_mul(spec.resources.memory.0),
            cpu_milli: instances.saturating_mul(spec.resources.cpu.0.into()),
        }
    }
}

impl std::iter::Sum for Use {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |a, b| Self {
            instances: a.instances.saturating_add(b.instances),
            memory_bytes: a.memory_bytes.saturating_add(b.memory_bytes),
            cpu_milli: a.cpu_milli.saturating_add(b.cpu_milli),
        })
    }
}

impl TeamLimits {
    /// Whether nothing is limited.
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }

    /// Why one more does not fit beside the others, if it does not; the first limit that is in its way.
    pub fn refusal(&self, others: Use, own: Use) -> Option<String> {
        let over = |limit: u64, others: u64, own: u64| others.saturating_add(own) > limit;
        if let Some(limit) = self
            .instances
            .filter(|l| over((*l).into(), others.instances, own.instances))
        {
            let (others, own) = (others.instances, own.instances);
            return Some(told("instances", &limit, &others, &own));
        }
        if let Some(limit) = self.memory.filter(|l| over(l.0, others.memory_bytes, own.memory_bytes)) {
            let (others, own) = (Bytes(others.memory_bytes), Bytes(own.memory_bytes));
            return Some(told("memory", &limit, &others, &own));
        }
        let limit = self.cpu.filter(|l| over(l.0.into(), others.cpu_milli, own.cpu_milli))?;
        let cores = |milli: u64| MilliCpu(milli.try_into().unwrap_or(u32::MAX));
        let (others, own) = (cores(others.cpu_milli), cores(own.cpu_milli));
        Some(told("CPU", &limit, &others, &own))
    }
}

fn told(
    what: &str,
    limit: &dyn std::fmt::Display,
    others: &dyn std::fmt::Display,
    own: &dyn std::fmt::Display,
) -> String {
    format!("the team's limit for {what} is {limit}; what else it runs may use {others}, and this up to {own}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uses(instances: u64) -> Use {
        Use {
            instances,
            memory_bytes: instances << 28,
            cpu_milli: instances * 500,
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_limit_that_is_in_the_way() {
        let none = TeamLimits::default();
        let instances = TeamLimits {
            instances: Some(4),
            ..none
        };
        let memory = TeamLimits {
            memory: Some(Bytes(1 << 30)),
            ..none
        };
        let cpu = TeamLimits {
            cpu: Some(MilliCpu(2_000)),
            instances: Some(9),
            ..none
        };
        for (limits, others, own, refused) in [
            (none, 900, 900, None),
            (instances, 2, 2, None),
            (instances, 2, 3, Some("instances is 4")),
            (memory, 3, 1, None),
            (memory, 3, 2, Some("memory is 1GiB")),
            (cpu, 4, 0, None),
            (cpu, 4, 1, Some("CPU is 2")),
        ] {
            let said = limits.refusal(uses(others), uses(own));
            assert_eq!(said.is_some(), refused.is_some(), "{limits:?}: {said:?}");
            assert!(said.is_none_or(|said| said.contains(refused.unwrap_or_default())));
        }
    }

    #[test]
    fn a_spec_counts_with_the_most_instances_that_it_allows() {
        let mut spec = Spec::default();
        spec.scale.min = 0;
        assert_eq!(Use::most(&spec).instances, 1);
        spec.scale.max = Some(4);
        let most = Use::most(&spec);
        assert_eq!((most.instances, most.memory_bytes), (4, 4 * spec.resources.memory.0));
        assert_eq!([most, uses(1)].into_iter().sum::<Use>().instances, 5);
    }
}
