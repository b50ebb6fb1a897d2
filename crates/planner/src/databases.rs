//! A managed database: what to do next with its server.
//!
//! | what is so | what is done |
//! |---|---|
//! | it is to go | nobody can reach it any more, then server, network and files go |
//! | the engine does not answer | nothing is concluded: one that was ready is `unavailable` |
//! | it is being restored | its image is pulled and its network named; the backup worker does the rest |
//! | its image is not here | it is pulled |
//! | there is no server, or another one than is wanted | it is made; its files stay |
//! | its server has ended | it is started; the reason says how it ended |
//! | its server runs and has not been asked since | it is asked, and its roles are made where they are missing |
//! | an environment may reach it and cannot, or the other way round | that is mended |
//!
//! Promises: files go only when somebody said that the database is to go; what cannot be seen is waited for.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use slipway_domain::Timestamp;
use slipway_domain::database::DatabaseState;
use slipway_domain::domains::Reason;
use slipway_domain::ids::EnvironmentId;
use slipway_domain::observed::Observed;

/// How often the engine is asked about a server that is well, and how often that itself: logging in costs both sides some
/// thousand rounds of a hash (RFC 7677).
const LOOK_EVERY: TimeDelta = TimeDelta::seconds(30);
const ASK_EVERY: TimeDelta = TimeDelta::minutes(5);
/// How soon after something went on or went wrong.
const SOON: TimeDelta = TimeDelta::seconds(1);

/// What is known of a database.
#[derive(Debug, Clone)]
pub struct DatabaseWorld {
    /// Whether it is to go.
    pub deleted: bool,
    /// Where it stood at the last look.
    pub state: DatabaseState,
    /// Why it stood so.
    pub reason: Option<Reason>,
    /// Whether its network has a subnet.
    pub has_subnet: bool,
    /// Whether it was ever ready.
    pub was_ready: bool,
    /// What is wanted of its server, in short.
    pub settings: String,
    /// Its server.
    pub server: Observed<Option<Server>>,
    /// Whether its image is here; unknown where the engine does not say.
    pub has_image: Option<bool>,
    /// What it said when it was last asked.
    pub answer: Option<Answer>,
    /// What went wrong with what was done last.
    pub failure: Option<Reason>,
    /// The environments that may reach it and have a network.
    pub attached: BTreeSet<EnvironmentId>,
    /// The present moment.
    pub now: Timestamp,
}

/// A server that the engine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Whether it runs.
    pub running: bool,
    /// How it ended, if it does not run.
    pub exit_code: Option<i64>,
    /// Whether the kernel ended it for want of memory.
    pub oom_killed: bool,
    /// What it was made from, in short.
    pub settings: String,
    /// The environments that can reach it.
    pub environments: BTreeSet<EnvironmentId>,
}

/// What a server said, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// When it was asked.
    pub at: Timestamp,
    /// Why it cannot be used; nothing if it can.
    pub trouble: Option<Reason>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseStep {
    /// Bring its image here.
    Pull,
    /// Find a subnet for its network.
    Name,
    /// Make its server run as wanted.
    Apply,
    /// Ask its server how it is, and make the roles that are missing.
    Ask,
    /// Let an environment reach it.
    Connect(EnvironmentId),
    /// Have an environment reach it no more.
    Disconnect(EnvironmentId),
    /// Remove server, network and files, and then forget it.
    Remove,
}

/// What to do, where it stands, and when to look again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabasePlan {
    /// To be done in this order; the first that fails ends the look.
    pub steps: Vec<DatabaseStep>,
    /// Where it stands.
    pub state: DatabaseState,
    /// Why it is not as it should be.
    pub reason: Option<Reason>,
    /// When to look again.
    pub again: TimeDelta,
}

fn reason(code: &str, detail: impl Into<String>, hint: impl Into<String>) -> Reason {
    Reason {
        code: code.into(),
        detail: detail.into(),
        hint: hint.into(),
    }
}

/// Decides what to do next.
pub fn plan(world: &DatabaseWorld) -> DatabasePlan {
    let with = |steps: Vec<DatabaseStep>, (state, reason): (DatabaseState, Option<Reason>), again| DatabasePlan {
        steps,
        state,
        reason,
        again,
    };
    let Some(server) = world.server.known() else {
        let away = reason(
            "engine_unavailable",
            "The container engine does not answer.",
            "It is waited for. `slipway doctor` on the machine says more.",
        );
        let state = if world.deleted {
            DatabaseState::Deleting
        } else {
            troubled(world)
        };
        return with(Vec::new(), (state, Some(away)), SOON);
    };
    if world.deleted {
        return with(
            vec![DatabaseStep::Remove],
            (DatabaseState::Deleting, world.failure.clone()),
            SOON,
        );
    }
    if world.state == DatabaseState::Restoring {
        let why = world.failure.clone().or_else(|| world.reason.clone());
        return with(for_restore(world), (DatabaseState::Restoring, why), SOON);
    }
    let wanted = server.as_ref().filter(|server| server.settings == world.settings);
    let Some(server) = wanted else {
        let mut steps = Vec::new();
        if world.has_image == Some(false) {
            steps.push(DatabaseStep::Pull);
        }
        steps.push(DatabaseStep::Apply);
        return with(steps, (troubled(world), world.failure.clone()), SOON);
    };
    if !server.running {
        let why = world.failure.clone().or_else(|| ended(server));
        return with(vec![DatabaseStep::Apply], (troubled(world), why), SOON);
    }
    let mut steps: Vec<DatabaseStep> = Vec::new();
    let missing = world.attached.difference(&server.environments);
    steps.extend(missing.copied().map(DatabaseStep::Connect));
    let surplus = server.environments.difference(&world.attached);
    steps.extend(surplus.copied().map(DatabaseStep::Disconnect));
    let (state, why) = match &world.answer {
        Some(answer) => match &answer.trouble {
            None => (DatabaseState::Ready, None),
            Some(trouble) => (troubled(world), Some(trouble.clone())),
        },
        None => (world.state, None),
    };
    let is_well = why.is_none() && world.answer.is_some();
    let (pause, ask) = if is_well { (LOOK_EVERY, ASK_EVERY) } else { (SOON, SOON) };
    let due = world.answer.as_ref().is_none_or(|answer| {
        let age = world.now - answer.at;
        // A clock that was set back does not keep it from being asked.
        age >= ask || age < TimeDelta::zero()
    });
    if due {
        steps.push(DatabaseStep::Ask);
    }
    with(steps, (state, why.or_else(|| world.failure.clone())), pause)
}

/// What the backup worker needs before it can restore one.
fn for_restore(world: &DatabaseWorld) -> Vec<DatabaseStep> {
    let pull = (world.has_image == Some(false)).then_some(DatabaseStep::Pull);
    let name = (!world.has_subnet).then_some(DatabaseStep::Name);
    pull.into_iter().chain(name).collect()
}

/// Where one stands that cannot be used now.
fn troubled(world: &DatabaseWorld) -> DatabaseState {
    match (world.was_ready, &world.failure) {
        (true, _) => DatabaseState::Unavailable,
        (false, Some(_)) => DatabaseState::Failed,
        (false, None) => DatabaseState::Creating,
    }
}

fn ended(server: &Server) -> Option<Reason> {
    if server.oom_killed {
        return Some(reason(
            "out_of_memory",
            "Its server was ended because it used more memory than it has.",
            "It is started again. Give it more, or have the app keep fewer connections.",
        ));
    }
    let code = server.exit_code.filter(|code| *code != 0)?;
    Some(reason(
        "server_ended",
        format!("Its server ended with exit code {code}."),
        "It is started again; `docker logs` of its container says why it ended.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_domain::clock::testing::{FixedEntropy, at};

    fn environment(seed: u8) -> EnvironmentId {
        EnvironmentId::mint(at(0), &FixedEntropy(seed))
    }

    fn server() -> Server {
        Server {
            running: true,
            exit_code: None,
            oom_killed: false,
            settings: "s".into(),
            environments: BTreeSet::new(),
        }
    }

    fn world(server: Option<Server>) -> DatabaseWorld {
        DatabaseWorld {
            deleted: false,
            state: DatabaseState::Creating,
            reason: None,
            has_subnet: true,
            was_ready: false,
            settings: "s".into(),
            server: Observed::Known(server),
            has_image: Some(true),
            answer: None,
            failure: None,
            attached: BTreeSet::new(),
            now: at(100_000),
        }
    }

    fn answered(trouble: Option<Reason>, seconds_ago: i64) -> Answer {
        Answer {
            at: at(100_000 - seconds_ago * 1_000),
            trouble,
        }
    }

    #[test]
    fn one_that_is_restored_gets_its_image_and_subnet_and_is_left_alone() {
        let mut world = world(None);
        world.state = DatabaseState::Restoring;
        world.has_image = Some(false);
        world.has_subnet = false;
        let found = plan(&world);
        assert_eq!(
            (found.steps, found.state),
            (vec![DatabaseStep::Pull, DatabaseStep::Name], DatabaseState::Restoring)
        );
        world.has_image = Some(true);
        world.has_subnet = true;
        world.reason = Some(reason("restore_failed", "d", "h"));
        let found = plan(&world);
        assert_eq!((found.steps, found.reason), (vec![], world.reason.clone()));
        world.deleted = true;
        assert_eq!(plan(&world).steps, [DatabaseStep::Remove]);
    }

    #[test]
    fn a_new_one_is_pulled_made_and_asked() {
        let mut world = world(None);
        world.has_image = Some(false);
        assert_eq!(plan(&world).steps, [DatabaseStep::Pull, DatabaseStep::Apply]);
        world.has_image = None;
        assert_eq!(plan(&world).steps, [DatabaseStep::Apply]);
        world.server = Observed::Known(Some(server()));
        let found = plan(&world);
        assert_eq!(
            (found.steps, found.state),
            (vec![DatabaseStep::Ask], DatabaseState::Creating)
        );
        world.answer = Some(answered(None, 1));
        let found = plan(&world);
        assert_eq!(
            (found.steps, found.state, found.again),
            (vec![], DatabaseState::Ready, LOOK_EVERY)
        );
    }

    #[test]
    fn what_cannot_be_seen_is_waited_for_and_never_made_anew() {
        let mut world = world(None);
        world.server = Observed::Unknown { reason: "gone".into() };
        world.was_ready = true;
        let found = plan(&world);
        assert_eq!((found.steps, found.state), (vec![], DatabaseState::Unavailable));
        assert_eq!(found.reason.map(|r| r.code).as_deref(), Some("engine_unavailable"));
        world.deleted = true;
        assert_eq!(plan(&world).steps, [], "nothing is removed unseen");
    }

    #[test]
    fn files_go_only_when_somebody_said_so() {
        let mut all = Vec::new();
        for server in [
            None,
            Some(server()),
            Some(Server {
                settings: "other".into(),
                ..server()
            }),
        ] {
            for was_ready in [false, true] {
                for failure in [None, Some(reason("c", "d", "h"))] {
                    let world = DatabaseWorld {
                        was_ready,
                        failure,
                        ..world(server.clone())
                    };
                    all.extend(plan(&world).steps);
                }
            }
        }
        assert!(!all.contains(&DatabaseStep::Remove), "{all:?}");
        let gone = DatabaseWorld {
            deleted: true,
            ..world(Some(server()))
        };
        assert_eq!(plan(&gone).steps, [DatabaseStep::Remove]);
    }

    #[test]
    fn one_that_ended_is_started_and_says_how_it_ended() {
        let mut world = world(Some(Server {
            running: false,
            exit_code: Some(137),
            oom_killed: true,
            ..server()
        }));
        world.was_ready = true;
        let found = plan(&world);
        assert_eq!(found.steps, [DatabaseStep::Apply]);
        assert_eq!(found.reason.map(|r| r.code).as_deref(), Some("out_of_memory"));
    }

    #[test]
    fn those_reach_it_who_may_and_nobody_else() {
        let (may, may_not) = (environment(1), environment(2));
        let mut world = world(Some(Server {
            environments: BTreeSet::from([may_not]),
            ..server()
        }));
        world.attached = BTreeSet::from([may]);
        world.answer = Some(answered(None, 1));
        assert_eq!(
            plan(&world).steps,
            [DatabaseStep::Connect(may), DatabaseStep::Disconnect(may_not)]
        );
    }

    #[test]
    fn a_server_that_is_well_is_asked_now_and_then_and_one_that_is_not_often() {
        let mut world = world(Some(server()));
        world.was_ready = true;
        let trouble = Some(reason("not_answering", "d", "h"));
        for (trouble, seconds_ago, asked, state) in [
            (None, 299, false, DatabaseState::Ready),
            (None, 300, true, DatabaseState::Ready),
            (None, -60, true, DatabaseState::Ready),
            (trouble.clone(), 0, false, DatabaseState::Unavailable),
            (trouble, 1, true, DatabaseState::Unavailable),
        ] {
            world.answer = Some(answered(trouble, seconds_ago));
            let found = plan(&world);
            assert_eq!(
                (found.steps.contains(&DatabaseStep::Ask), found.state),
                (asked, state),
                "{seconds_ago}"
            );
        }
    }
}
