//! What each state of DNS comes to.

use std::net::IpAddr;

use slipway_domain::clock::testing::{FixedEntropy, at};
use slipway_domain::domains::{
    Answer, Caa, CaaRecord, Dnssec, Inspection, Look, LookFailure, Proof, RecordType, ResolverAnswer, ZoneAccess,
    proof_value,
};
use slipway_domain::ids::ZoneId;
use slipway_planner::domains::{Wanted, inspect};

const OURS: &str = "203.0.113.10";
const OURS_V6: &str = "2001:db8::10";

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn wanted() -> Wanted {
    Wanted {
        host: "shop.example.com".parse().expect("a name"),
        token: "t0ken".into(),
        addresses: vec![ip(OURS), ip(OURS_V6)],
        target: None,
        routed_proves: true,
        is_proven: false,
        is_anothers: false,
        zones: Vec::new(),
        ca_identities: vec![vec!["letsencrypt.org".into()]],
        ca_accounts: vec!["https://ca.example/acct/1".into()],
    }
}

/// An answer out of words: addresses, `ttl=…`, `cname=…`, `nxdomain`, `servfail`, `timeout`, `loop`.
fn answer(words: &str) -> ResolverAnswer {
    let (mut a, mut aaaa, mut cnames, mut ttl) = (vec![], vec![], vec![], 60);
    let mut none = Answer::Nothing;
    for word in words.split_whitespace() {
        match word {
            "nxdomain" => none = Answer::NoName,
            "servfail" => none = Answer::Failed(LookFailure::ServFail),
            "timeout" => none = Answer::Failed(LookFailure::Timeout),
            "loop" => none = Answer::Failed(LookFailure::CnameLoop),
            _ if word.starts_with("ttl=") => ttl = word[4..].parse().expect("seconds"),
            _ if word.starts_with("cname=") => cnames.push(word[6..].to_owned()),
            _ if word.contains(':') => aaaa.push(ip(word)),
            _ => a.push(ip(word)),
        }
    }
    let of = |found: Vec<IpAddr>| {
        if found.is_empty() {
            none.clone()
        } else {
            Answer::Found(found)
        }
    };
    ResolverAnswer {
        resolver: "192.0.2.53:53".into(),
        authoritative: false,
        ttl_seconds: (!a.is_empty() || !aaaa.is_empty()).then_some(ttl),
        a: of(a),
        aaaa: of(aaaa),
        cnames,
    }
}

fn look(answers: &[&str]) -> Look {
    Look {
        answers: answers.iter().map(|words| answer(words)).collect(),
        proof: Answer::NoName,
        caa: Ok(None),
        dnssec: Dnssec::Insecure,
        zone: Some("example.com".parse().expect("a name")),
        by_wildcard: false,
        target: Answer::Nothing,
        challenge_alias: None,
    }
}

fn codes(inspection: &Inspection) -> Vec<&str> {
    inspection.findings.iter().map(|f| f.code.as_str()).collect()
}

#[test]
fn addresses_of_a_family_that_the_platform_does_not_have_are_listed_as_records_to_remove() {
    let gone = |answers: &[&str]| {
        let only_v4 = Wanted {
            addresses: vec![ip(OURS)],
            ..wanted()
        };
        let found = inspect(&only_v4, &look(answers));
        let gone = found.records.into_iter().filter(|r| r.value.is_empty());
        gone.map(|r| (r.kind.as_str(), r.found.join(" "), r.ok))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        gone(&["203.0.113.10 2001:db8::99"]),
        [("AAAA", "2001:db8::99".into(), false)]
    );
    assert_eq!(gone(&["203.0.113.10"]), []);
    assert_eq!(gone(&["198.51.100.1"]), [], "that one is to be changed");
    assert_eq!(gone(&["104.16.1.1 2606:4700::1111"]), [], "those are a CDN's");
}

#[test]
fn f58_each_wrong_state_of_dns_has_its_reason_and_orders_nothing() {
    for (answers, code) in [
        (&["nxdomain"][..], "no_such_name"),
        (&[""], "no_addresses"),
        (&["servfail"], "dns_unavailable"),
        (&["timeout"], "dns_unavailable"),
        (&[], "dns_unavailable"),
        (&["loop"], "cname_loop"),
        (&["198.51.100.1"], "elsewhere"),
        (&["2001:db8::99"], "elsewhere"),
        (&["203.0.113.10 198.51.100.1"], "some_elsewhere"),
        (&["203.0.113.10 2001:db8::99"], "conflicting_aaaa"),
        (&["203.0.113.10", "198.51.100.1"], "split_answers"),
        (&["203.0.113.10", "nxdomain"], "split_answers"),
        (&["104.16.1.1 104.17.1.1"], "behind_proxy"),
        (&["198.51.100.1 cname=d111.cloudfront.net."], "behind_proxy"),
    ] {
        let found = inspect(&wanted(), &look(answers));
        assert_eq!(found.obstacle().map(|f| f.code.as_str()), Some(code), "{answers:?}");
        assert!(!found.may_order(), "{answers:?}");
        let told = found.obstacle().expect("an obstacle");
        assert!(told.detail.ends_with('.') && told.hint.ends_with('.'), "{told:?}");
    }
}

#[test]
fn a_name_under_a_top_level_domain_that_does_not_exist_is_called_a_slip() {
    for (host, is_slip) in [
        ("shop.example.con", true),
        ("*.shop.example.con", true),
        ("shop.example.co.uk", false),
        ("shop.example.com", false),
    ] {
        let wanted = Wanted {
            host: host.parse().expect("a name"),
            ..wanted()
        };
        let found = inspect(&wanted, &look(&["nxdomain"]));
        let told = found.findings.iter().find(|f| f.code == "no_such_name").expect("told");
        assert_eq!(told.detail.contains("no top-level domain `.con`"), is_slip, "{told:?}");
    }
}

#[test]
fn a_server_that_cannot_be_asked_is_told_of_and_what_the_others_say_holds() {
    let found = inspect(&wanted(), &look(&["timeout", OURS]));
    assert_eq!(codes(&found), ["resolver_away"]);
    assert!(found.may_order() && found.proof == Some(Proof::Routed), "{found:?}");
    let wrong = inspect(&wanted(), &look(&["198.51.100.1", "timeout"]));
    assert_eq!(codes(&wrong), ["elsewhere", "resolver_away"]);
    let failing = inspect(&wanted(), &look(&["servfail", OURS]));
    assert_eq!(
        failing.obstacle().map(|f| f.code.as_str()),
        Some("dns_unavailable"),
        "it says something of the name"
    );
}

#[test]
fn servers_that_differ_are_named_with_what_each_says() {
    let found = inspect(&wanted(), &look(&[OURS, "198.51.100.1"]));
    let told = &found.obstacle().expect("split").detail;
    assert!(
        told.contains("says 203.0.113.10") && told.contains("says 198.51.100.1"),
        "{told}"
    );
}

#[test]
fn an_alias_for_somebody_elses_name_is_to_be_replaced() {
    let found = inspect(&wanted(), &look(&["198.51.100.1 cname=old-host.example.net."]));
    let told = found.obstacle().expect("elsewhere");
    assert!(
        told.detail
            .contains("is a CNAME for old-host.example.net (198.51.100.1)"),
        "{told:?}"
    );
    assert!(told.hint.starts_with("Replace the CNAME record"), "{told:?}");
}

#[test]
fn nothing_is_ordered_while_the_platform_knows_no_address_of_its_own() {
    let lost = Wanted {
        addresses: vec![],
        ..wanted()
    };
    let found = inspect(&lost, &look(&[OURS]));
    assert!(
        codes(&found).contains(&"no_public_address") && !found.may_order(),
        "{found:?}"
    );
}

#[test]
fn addresses_of_ours_are_right_in_either_family_and_prove_the_domain() {
    for answers in [&[OURS][..], &[OURS_V6], &["203.0.113.10 2001:db8::10"], &[OURS, OURS]] {
        let found = inspect(&wanted(), &look(answers));
        assert_eq!(codes(&found), [""; 0], "{answers:?}");
        assert!(found.may_order());
        assert_eq!(found.proof, Some(Proof::Routed));
    }
}

#[test]
fn records_that_point_here_prove_nothing_where_others_have_a_word_or_a_wildcard_made_them() {
    let mut contested = wanted();
    contested.routed_proves = false;
    let found = inspect(&contested, &look(&[OURS]));
    assert_eq!((found.proof, codes(&found)), (None, vec!["txt_needed"]));
    let mut wild = look(&[OURS]);
    wild.by_wildcard = true;
    let found = inspect(&wanted(), &wild);
    assert_eq!((found.proof, codes(&found)), (None, vec!["wildcard_needs_txt"]));
    let proof = found.records.iter().find(|r| r.group == "proof").expect("a record");
    assert!(!proof.optional && !proof.ok, "{proof:?}");
    // The text does.
    wild.proof = Answer::Found(vec!["other".into(), proof_value("t0ken")]);
    let found = inspect(&contested, &wild);
    assert_eq!((found.proof, codes(&found)), (Some(Proof::Txt), vec![]));
    // Another team's text does not.
    wild.proof = Answer::Found(vec![proof_value("0ther")]);
    assert_eq!(inspect(&contested, &wild).proof, None);
}

#[test]
fn a_text_proves_a_domain_that_points_elsewhere_which_is_still_wrong() {
    let mut moved = look(&["198.51.100.1"]);
    moved.proof = Answer::Found(vec![proof_value("t0ken")]);
    let found = inspect(&wanted(), &moved);
    assert_eq!((found.proof, codes(&found)), (Some(Proof::Txt), vec!["elsewhere"]));
}

#[test]
fn signatures_that_do_not_hold_are_told_before_the_silence_they_cause() {
    let mut bogus = look(&["servfail"]);
    bogus.dnssec = Dnssec::Bogus("the key is not the one that the parent vouches for".into());
    bogus.caa = Err(LookFailure::ServFail);
    let found = inspect(&wanted(), &bogus);
    assert_eq!(codes(&found), ["dnssec_bogus"]);
    assert!(found.findings[0].detail.contains("the parent vouches for"), "{found:?}");
}

#[test]
fn where_no_server_answers_it_is_the_platform_that_cannot_ask() {
    let mut silent = look(&["timeout", "timeout"]);
    silent.caa = Err(LookFailure::Timeout);
    let found = inspect(&wanted(), &silent);
    assert_eq!(codes(&found), ["dns_unavailable"]);
    let finding = &found.findings[0];
    assert!(
        finding.detail.starts_with("None of the DNS servers") && finding.hint.contains("SLIPWAY_DNS_RESOLVERS"),
        "{finding:?}"
    );
}

#[test]
fn what_was_registered_is_an_apex_before_its_zone_can_be_found() {
    let mut new = look(&["nxdomain"]);
    new.zone = None;
    let mut wanted = wanted();
    wanted.target = Some("edge.example.net".parse().expect("a name"));
    let kinds = |wanted: &Wanted| {
        let found = inspect(wanted, &new);
        let leads = found.records.iter().filter(|r| r.kind != RecordType::Txt);
        leads.map(|r| r.kind.as_str()).collect::<Vec<_>>().join(" ")
    };
    assert!(kinds(&wanted).contains("CNAME"), "{}", kinds(&wanted));
    wanted.host = "example.com".parse().expect("a name");
    assert!(!kinds(&wanted).contains("CNAME"), "{}", kinds(&wanted));
}

#[test]
fn caa_records_that_name_another_ca_forbid_the_order() {
    let caa = |records: &[(&str, &str)], critical| {
        let records = records.iter().map(|(tag, value)| CaaRecord {
            critical,
            tag: (*tag).into(),
            value: (*value).into(),
        });
        let mut looked = look(&[OURS]);
        looked.caa = Ok(Some(Caa {
            at: "example.com".into(),
            records: records.collect(),
        }));
        let found = inspect(&wanted(), &looked);
        found.obstacle().map(|f| f.code.clone())
    };
    let forbids = Some("caa_forbids".to_owned());
    assert_eq!(caa(&[("issue", "letsencrypt.org")], false), None);
    assert_eq!(
        caa(&[("issue", "digicert.com"), ("issue", "letsencrypt.org; a=b")], false),
        None
    );
    assert_eq!(caa(&[("iodef", "mailto:a@example.com")], true), None);
    assert_eq!(caa(&[("issue", "digicert.com")], false), forbids);
    assert_eq!(caa(&[("issue", ";")], false), forbids);
    assert_eq!(
        caa(&[("issue", "letsencrypt.org; validationmethods=dns-01")], false),
        forbids
    );
    assert_eq!(
        caa(&[("issue", "letsencrypt.org; validationmethods=http-01,dns-01")], false),
        None
    );
    assert_eq!(
        caa(
            &[("issue", "letsencrypt.org; accounturi=https://ca.example/acct/1")],
            false
        ),
        None
    );
    assert_eq!(
        caa(
            &[("issue", "letsencrypt.org; accounturi=https://ca.example/acct/2")],
            false
        ),
        forbids,
        "another's account"
    );
    assert_eq!(caa(&[("tbs", "unknown")], true), forbids);
    assert_eq!(caa(&[("tbs", "unknown")], false), None);
    let mut failed = look(&[OURS]);
    failed.caa = Err(LookFailure::ServFail);
    assert_eq!(codes(&inspect(&wanted(), &failed)), ["caa_unavailable"]);
}

#[test]
fn a_ca_that_may_look_in_dns_alone_is_answered_there() {
    let mut looked = look(&[OURS]);
    let record = |value: &str| CaaRecord {
        critical: false,
        tag: "issue".into(),
        value: value.into(),
    };
    let with_zone = Wanted {
        zones: vec![ZoneAccess {
            id: ZoneId::mint(at(1), &FixedEntropy(1)),
            zone: "example.com".parse().expect("a name"),
            is_platforms: false,
            is_for_delegation: false,
        }],
        ..wanted()
    };
    for (value, dns_only) in [
        ("letsencrypt.org", false),
        ("letsencrypt.org; validationmethods=dns-01", true),
        ("letsencrypt.org; validationmethods=dns-01,http-01", false),
    ] {
        looked.caa = Ok(Some(Caa {
            at: "example.com".into(),
            records: vec![record(value)],
        }));
        let found = inspect(&with_zone, &looked);
        assert_eq!((found.dns_only, found.may_order()), (dns_only, true), "{value}");
    }
}

#[test]
fn a_wildcard_certificate_is_held_to_the_records_for_wildcards() {
    let wild = wildcard(vec![zone("example.com", false)]);
    let caa = |tags: &[(&str, &str)]| {
        let mut looked = look(&[OURS]);
        let record = |(tag, value): &(&str, &str)| CaaRecord {
            critical: false,
            tag: (*tag).into(),
            value: (*value).into(),
        };
        looked.caa = Ok(Some(Caa {
            at: "example.com".into(),
            records: tags.iter().map(record).collect(),
        }));
        inspect(&wild, &looked).may_order()
    };
    assert!(caa(&[("issue", "letsencrypt.org")]));
    assert!(!caa(&[("issue", "letsencrypt.org"), ("issuewild", ";")]));
    assert!(caa(&[("issue", "digicert.com"), ("issuewild", "letsencrypt.org")]));
    assert!(caa(&[("issue", "letsencrypt.org; validationmethods=dns-01")]));
    assert!(!caa(&[("issue", "letsencrypt.org; validationmethods=http-01")]));
}

fn zone(name: &str, is_for_delegation: bool) -> ZoneAccess {
    ZoneAccess {
        id: ZoneId::mint(at(1), &FixedEntropy(1)),
        zone: name.parse().expect("a name"),
        is_platforms: is_for_delegation,
        is_for_delegation,
    }
}

/// `*.shop.example.com`, proven.
fn wildcard(zones: Vec<ZoneAccess>) -> Wanted {
    Wanted {
        host: "*.shop.example.com".parse().expect("a name"),
        is_proven: true,
        zones,
        ..wanted()
    }
}

#[test]
fn a_wildcard_needs_its_text_and_a_way_to_answer_in_dns() {
    let mut unproven = wildcard(vec![zone("example.com", false)]);
    unproven.is_proven = false;
    let found = inspect(&unproven, &look(&[OURS]));
    assert_eq!((found.proof, codes(&found)), (None, vec!["txt_needed"]));
    let mut told = look(&[OURS]);
    told.proof = Answer::Found(vec![proof_value("t0ken")]);
    let found = inspect(&unproven, &told);
    assert_eq!((found.proof, found.may_order()), (Some(Proof::Txt), true));

    let none = inspect(&wildcard(vec![]), &look(&[OURS]));
    assert_eq!(codes(&none), ["dns01_needed"]);
    let hint = &none.findings[0].hint;
    assert_eq!(
        hint,
        "Let the platform make records in example.com: `slipway dns set example.com --provider NAME`."
    );
    assert!(none.records.iter().all(|r| r.group != "challenge"));

    // Where the platform has a zone for it, a CNAME does as well.
    let delegated = wildcard(vec![zone("acme.example.net", true)]);
    let found = inspect(&delegated, &look(&[OURS]));
    assert_eq!(codes(&found), ["dns01_needed"]);
    let record = found.records.iter().find(|r| r.group == "challenge").expect("listed");
    assert_eq!(
        (
            record.kind.as_str(),
            record.name.as_str(),
            record.value.as_str(),
            record.ok,
            record.optional
        ),
        (
            "CNAME",
            "_acme-challenge.shop.example.com",
            "t0ken.acme.example.net",
            false,
            false
        )
    );
    let mut made = look(&[OURS]);
    made.challenge_alias = Some("t0ken.acme.example.net.".into());
    let found = inspect(&delegated, &made);
    assert!(found.may_order(), "{found:?}");
    assert!(found.records.iter().all(|r| r.group != "challenge" || r.ok));
}

#[test]
fn behind_a_cdn_a_name_is_ordered_for_where_a_ca_can_be_answered_in_dns_and_the_text_proves_it() {
    let mut asked = Wanted {
        zones: vec![zone("example.com", false)],
        ..wanted()
    };
    let behind = look(&["104.16.1.1"]);
    let found = inspect(&asked, &behind);
    assert_eq!((found.proof, codes(&found)), (None, vec!["txt_needed", "behind_proxy"]));
    assert!(found.records.iter().any(|r| r.kind == RecordType::Txt && !r.optional));
    asked.is_proven = true;
    let found = inspect(&asked, &behind);
    assert!(
        found.may_order() && found.behind_proxy && !found.points_here,
        "{found:?}"
    );
    asked.zones.clear();
    assert!(!inspect(&asked, &behind).may_order());
}

#[test]
fn a_long_ttl_is_warned_of_before_the_change_and_a_short_one_after_it() {
    let before = inspect(&wanted(), &look(&["198.51.100.1 ttl=86400"]));
    assert_eq!(codes(&before), ["elsewhere", "ttl_long"]);
    let mut proven = wanted();
    proven.is_proven = true;
    let short = inspect(&proven, &look(&["203.0.113.10 ttl=30"]));
    assert_eq!(codes(&short), ["ttl_short"]);
    assert!(short.may_order());
    assert_eq!(codes(&inspect(&proven, &look(&["203.0.113.10 ttl=3600"]))), [""; 0]);
    assert_eq!(codes(&inspect(&proven, &look(&["203.0.113.10 ttl=0"]))), ["ttl_short"]);
}

#[test]
fn the_records_to_make_are_an_alias_or_the_addresses_and_no_alias_where_a_zone_begins() {
    let shown = |wanted: &Wanted, looked: &Look| {
        let records = inspect(wanted, looked).records;
        let line = |r: &slipway_domain::domains::RecordCheck| {
            let need = if r.optional { "optional" } else { "needed" };
            format!("{} {} {} {} {need}", r.kind.as_str(), r.name, r.value, r.ok)
        };
        records.iter().map(line).collect::<Vec<_>>()
    };
    let proof = |name: &str| format!("TXT _slipway-challenge.{name} slipway-domain-verification=t0ken false optional");
    assert_eq!(
        shown(&wanted(), &look(&[OURS])),
        [
            "A shop.example.com 203.0.113.10 true needed".to_owned(),
            "AAAA shop.example.com 2001:db8::10 false optional".to_owned(),
            proof("shop.example.com"),
        ]
    );
    let mut behind = wanted();
    behind.addresses = vec![];
    behind.target = Some("edge.example.net".parse().expect("a name"));
    let mut aliased = look(&["203.0.113.10 cname=edge.example.net."]);
    aliased.target = Answer::Found(vec![ip(OURS)]);
    assert_eq!(
        shown(&behind, &aliased),
        [
            "CNAME shop.example.com edge.example.net true needed".to_owned(),
            proof("shop.example.com")
        ]
    );
    assert!(inspect(&behind, &aliased).may_order());
    let mut addressed = look(&[OURS]);
    addressed.target = Answer::Found(vec![ip(OURS)]);
    let row = inspect(&behind, &addressed).records.remove(0);
    assert_eq!(
        (row.ok, row.found),
        (true, vec![OURS.to_owned()]),
        "addresses do as well"
    );
    let mut apex = behind.clone();
    apex.host = "example.com".parse().expect("a name");
    let told = inspect(&apex, &aliased);
    assert!(told.records.iter().all(|r| r.kind.as_str() != "CNAME"), "{told:?}");
    assert_eq!(
        told.records[0].value, OURS,
        "the addresses behind the name stand in: {told:?}"
    );
    assert!(codes(&told).contains(&"apex_alias"), "{told:?}");
}

#[test]
fn a_local_name_needs_nothing_of_public_dns() {
    let mut local = wanted();
    local.host = "shop.internal".parse().expect("a name");
    let found = inspect(&local, &look(&["servfail"]));
    assert_eq!((found.proof, codes(&found)), (Some(Proof::Local), vec!["local_name"]));
    assert!(found.may_order());
}
