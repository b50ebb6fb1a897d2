//! Which instance gets a request.
//!
//! Promises: groups get their share by weight; within a group the less busy of two drawn at random; an instance that
//! was tried for this request, or stands back after failures, only if there is no other.

use std::sync::Arc;

use slipway_domain::ReleaseNumber;

use crate::dice::Dice;
use crate::table::Group;
use crate::upstream::Instance;

fn is_tried(instance: &Arc<Instance>, tried: &[Arc<Instance>]) -> bool {
    tried.iter().any(|other| Arc::ptr_eq(other, instance))
}

/// An instance not tried yet, with its release; of the preferred release if that has one left. `None` when there is none.
pub(crate) fn choose(
    groups: &[Group],
    preferred: Option<ReleaseNumber>,
    tried: &[Arc<Instance>],
    now_ms: u64,
    dice: &Dice,
) -> Option<(ReleaseNumber, Arc<Instance>)> {
    let kept = groups.iter().find(|group| Some(group.release) == preferred);
    let group = match kept.filter(|group| is_usable(group, tried)) {
        Some(group) => group,
        None => choose_group(groups, tried, dice)?,
    };
    let instance = choose_in(group, tried, now_ms, dice)?;
    Some((group.release, instance))
}

fn choose_in(group: &Group, tried: &[Arc<Instance>], now_ms: u64, dice: &Dice) -> Option<Arc<Instance>> {
    let all = group.instances.as_slice();
    if tried.is_empty() {
        let first = &all[dice.below(all.len())];
        let second = &all[dice.below(all.len())];
        if !first.is_cooling(now_ms) && !second.is_cooling(now_ms) {
            return Some(Arc::clone(less_busy(first, second)));
        }
    }
    // Rare: after a failure. A look at every instance is affordable here.
    let left = || all.iter().filter(|instance| !is_tried(instance, tried));
    let warm = left()
        .filter(|instance| !instance.is_cooling(now_ms))
        .min_by_key(|instance| instance.in_flight());
    warm.or_else(|| left().min_by_key(|instance| instance.in_flight()))
        .cloned()
}

fn less_busy<'a>(first: &'a Arc<Instance>, second: &'a Arc<Instance>) -> &'a Arc<Instance> {
    if second.in_flight() < first.in_flight() {
        second
    } else {
        first
    }
}

/// Whether there is an instance that was not tried for this request.
pub(crate) fn has_other(groups: &[Group], tried: &[Arc<Instance>]) -> bool {
    groups.iter().any(|group| is_usable(group, tried))
}

fn is_usable(group: &Group, tried: &[Arc<Instance>]) -> bool {
    group.instances.iter().any(|instance| !is_tried(instance, tried))
}

fn choose_group<'a>(groups: &'a [Group], tried: &[Arc<Instance>], dice: &Dice) -> Option<&'a Group> {
    let usable = |group: &&Group| is_usable(group, tried);
    if let [only] = groups {
        return Some(only).filter(usable);
    }
    let total: u64 = groups.iter().filter(usable).map(|group| u64::from(group.weight)).sum();
    if total == 0 {
        return groups.iter().find(usable);
    }
    let mut draw = dice.roll() % total;
    groups.iter().filter(usable).find(|group| {
        let weight = u64::from(group.weight);
        let hit = draw < weight;
        draw = draw.saturating_sub(weight);
        hit
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ProxyLimits;
    use slipway_domain::clock::testing::FixedEntropy;
    use slipway_domain::routing::Upstream;
    use tokio::sync::Notify;

    fn group(weight: u32, names: &[&str]) -> Group {
        let instances = names
            .iter()
            .map(|name| {
                let upstream = Upstream {
                    instance: (*name).into(),
                    address: ([127, 0, 0, 1], 1).into(),
                };
                Arc::new(Instance::new(
                    upstream,
                    true,
                    ProxyLimits::default(),
                    Arc::new(Notify::new()),
                ))
            })
            .collect();
        Group {
            release: ReleaseNumber(i64::from(weight)),
            weight,
            instances,
        }
    }

    fn share(groups: &[Group], name: &str) -> usize {
        let dice = Dice::seeded(&FixedEntropy(7));
        (0..1_000)
            .filter(|_| choose(groups, None, &[], 0, &dice).is_some_and(|(_, chosen)| chosen.name() == name))
            .count()
    }

    #[test]
    fn groups_share_by_weight() {
        let groups = [group(90, &["old"]), group(10, &["new"]), group(0, &["none"])];
        assert!((50..200).contains(&share(&groups, "new")), "{}", share(&groups, "new"));
        assert_eq!(share(&groups, "none"), 0);
        assert_eq!(share(&[group(0, &["a"]), group(5, &[])], "a"), 1_000);
    }

    #[tokio::test]
    async fn the_less_busy_instance_gets_more() {
        let groups = [group(1, &["busy", "free"])];
        let _leases = [
            groups[0].instances[0].lease().await,
            groups[0].instances[0].lease().await,
        ];
        assert!(share(&groups, "free") > 600);
    }

    #[test]
    fn tried_and_cooling_instances_come_last() {
        let groups = [group(1, &["a", "b"])];
        let dice = Dice::seeded(&FixedEntropy(7));
        let [a, b] = [&groups[0].instances[0], &groups[0].instances[1]];
        a.failed(10);
        let choose = |tried: &[Arc<Instance>]| choose(&groups, None, tried, 11, &dice).map(|(_, chosen)| chosen);
        assert!((0..50).all(|_| choose(&[]).is_some_and(|chosen| Arc::ptr_eq(&chosen, b))));
        let last = choose(&[Arc::clone(b)]).expect("one is left");
        assert!(Arc::ptr_eq(&last, a));
        assert!(choose(&[Arc::clone(a), Arc::clone(b)]).is_none());
    }

    #[test]
    fn a_visitor_stays_with_a_release_as_long_as_it_has_an_instance_left() {
        let groups = [group(90, &["old"]), group(10, &["new"])];
        let dice = Dice::seeded(&FixedEntropy(7));
        let new = Some(ReleaseNumber(10));
        let chosen = |preferred, tried: &[Arc<Instance>]| {
            let (release, instance) = choose(&groups, preferred, tried, 0, &dice).expect("one");
            (release.0, instance.name().to_owned())
        };
        assert!((0..50).all(|_| chosen(new, &[]) == (10, "new".to_owned())));
        let tried = [Arc::clone(&groups[1].instances[0])];
        assert_eq!(chosen(new, &tried), (90, "old".to_owned()));
        let gone = Some(ReleaseNumber(3));
        assert!((0..200).any(|_| chosen(gone, &[]).0 == 90));
    }
}
