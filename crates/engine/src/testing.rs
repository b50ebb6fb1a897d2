//! A group and a database for tests of this crate.

use std::collections::BTreeMap;

use slipway_domain::clock::testing::{FixedEntropy, at};
use slipway_domain::database::DatabaseSize;
use slipway_domain::ids::{DatabaseId, EnvironmentId, ReleaseId, TeamId};
use slipway_domain::image::Pin;
use slipway_domain::quantity::{Bytes, MilliCpu, Span};
use slipway_domain::secret::Secret;
use slipway_domain::spec::{KillSignal, Resources, RunAs};
use slipway_domain::{Epoch, Generation, ReleaseNumber};

use crate::database::DatabaseSpec;
use crate::engine::{GroupSpec, Owner};

pub(crate) fn group() -> GroupSpec {
    GroupSpec {
        owner: Owner {
            installation: "one".into(),
            team: TeamId::mint(at(0), &FixedEntropy(1)),
            app: "web".parse().expect("a name"),
            environment: "production".parse().expect("a name"),
            environment_id: EnvironmentId::mint(at(0), &FixedEntropy(2)),
            generation: Generation(1),
            epoch: Epoch(1),
        },
        release: ReleaseId::mint(at(0), &FixedEntropy(3)),
        release_number: ReleaseNumber(1),
        image: Pin::Local {
            id: format!("sha256:{}", "a".repeat(64)).parse().expect("a digest"),
        },
        port: 8080,
        env: BTreeMap::new(),
        secrets: BTreeMap::new(),
        resources: Resources {
            cpu: MilliCpu(500),
            memory: Bytes(64 << 20),
            pids: 256,
        },
        read_only: true,
        user: RunAs::Uid(65_532),
        mounts: Vec::new(),
        kill_signal: KillSignal::Term,
        kill_timeout: Span::from_secs(5),
    }
}

pub(crate) fn database() -> DatabaseSpec {
    let group = group();
    DatabaseSpec {
        installation: group.owner.installation,
        team: group.owner.team,
        id: DatabaseId::mint(at(0), &FixedEntropy(4)),
        name: "orders".parse().expect("a name"),
        major: 17,
        image: group.image,
        size: DatabaseSize::DEFAULT,
        password: Secret::new("password".to_owned()),
        subnet: "10.1.0.0/26".into(),
        epoch: Epoch(1),
    }
}
