//! Which certificates must be issued now.

use std::collections::BTreeSet;

use slipway_domain::Timestamp;

/// The sets of names that lack a certificate, or whose certificate has less than a third of its life left.
pub(crate) fn plan(
    wanted: &[Vec<String>],
    current: &[(Vec<String>, Timestamp, Timestamp)],
    now: Timestamp,
) -> Vec<Vec<String>> {
    let set = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
    let fresh = |names: &Vec<String>| {
        current
            .iter()
            .any(|(have, from, to)| set(have) == set(names) && now >= *from && (*to - now) * 3 > *to - *from)
    };
    wanted.iter().filter(|names| !fresh(names)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_domain::clock::testing::at;

    #[test]
    fn a_certificate_is_replaced_with_a_third_of_its_life_left() {
        let day = |d: i64| at(d * 86_400_000);
        let names = vec!["*.apps.localhost".to_owned()];
        let wanted = std::slice::from_ref(&names);
        let have = [(names.clone(), day(0), day(90))];
        assert_eq!(plan(wanted, &have, day(59)), Vec::<Vec<String>>::new());
        assert_eq!(plan(wanted, &have, day(61)), wanted);
        assert_eq!(plan(wanted, &[], day(1)), wanted);
    }

    #[test]
    fn the_order_of_names_does_not_matter() {
        let names = ["apps.localhost", "*.apps.localhost"].map(str::to_owned).to_vec();
        let have: Vec<String> = names.iter().rev().cloned().collect();
        let current = [(have, at(0), at(90 * 86_400_000))];
        assert!(plan(&[names], &current, at(1)).is_empty());
    }
}
