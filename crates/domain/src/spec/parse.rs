//! The one parser of specs and manifests.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use super::section::{FieldError, FieldErrorKind, Section, kind_of};
use super::{
    CanaryStep, Concurrency, CronJob, Deploy, Health, Http, KillSignal, Mount, OnDemandTls, REPLICAS_MAX, Resources,
    RunAs, STAY_UP, Scale, Security, Smoke, Spec, Strategy,
};
use crate::cron::{Schedule, ScheduleError};
use crate::image::ImageReference;
use crate::name::{AppName, CronName, VariableName};
use crate::quantity::Decimal;
use crate::quantity::Span;

/// At most so many variables.
const ENV_COUNT_MAX: usize = 256;
/// At most so many bytes in one variable.
const ENV_VALUE_BYTES_MAX: usize = 32 << 10;
/// At most so many required secrets.
const REQUIRED_COUNT_MAX: usize = 256;
/// Checks of an app's own.
const SMOKE_COUNT_MAX: usize = 20;
/// Commands by the clock in one environment.
const CRON_COUNT_MAX: usize = 50;
/// How long a one-off command may take if nothing else is said.
pub const RUN_TIMEOUT_DEFAULT: Span = Span::from_secs(3600);
/// How long a one-off command may take, in milliseconds.
pub const RUN_TIMEOUT_MS: std::ops::RangeInclusive<u64> = 1_000..=86_400_000;
/// At most so many words in a command.
const COMMAND_WORDS_MAX: usize = 64;
/// At most so many steps of a canary.
const CANARY_STEPS_MAX: usize = 16;
/// So many names visitors may bring along if nothing else is said.
const ON_DEMAND_NAMES_DEFAULT: u32 = 100;
/// At most so many mounts.
const MOUNT_COUNT_MAX: usize = 16;

/// Everything wrong with a document, in the order it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecErrors(pub Vec<FieldError>);

impl SpecErrors {
    /// Whether nothing is wrong but features that are not built yet.
    pub fn only_not_available(&self) -> bool {
        self.0.iter().all(|e| e.kind == FieldErrorKind::NotAvailable)
    }
}

impl fmt::Display for SpecErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if i == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for SpecErrors {}

/// A manifest: a spec with the app it is for and, if the pipeline does not pass it, the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The app.
    pub app: AppName,
    /// The image.
    pub image: Option<ImageReference>,
    /// The rest.
    pub spec: Spec,
}

impl Manifest {
    /// Reads a manifest that was turned from TOML into JSON values.
    pub fn from_json(value: &Value) -> Result<Self, SpecErrors> {
        let mut section = Section::new(String::new(), value);
        let app: Option<AppName> = match section.get("app").and_then(Value::as_str).map(str::parse) {
            Some(Ok(app)) => Some(app),
            Some(Err(error)) => {
                section.invalid("app", format!("{error}"));
                None
            }
            None => {
                section.invalid("app", "give the app's name: `app = \"…\"`".into());
                None
            }
        };
        let image: Option<ImageReference> = match section.get("image").map(|v| v.as_str().map(str::parse)) {
            Some(Some(Ok(image))) => Some(image),
            Some(Some(Err(error))) => {
                section.invalid("image", format!("{error}"));
                None
            }
            Some(None) => {
                section.invalid("image", "give a text: `image = \"…\"`".into());
                None
            }
            None => None,
        };
        let spec = read(&mut section);
        let errors = section.finish();
        match app {
            Some(app) if errors.is_empty() => Ok(Self { app, image, spec }),
            _ => Err(SpecErrors(errors)),
        }
    }
}

impl Spec {
    /// Reads a spec; keys that are left out have their defaults.
    pub fn from_json(value: &Value) -> Result<Self, SpecErrors> {
        let mut section = Section::new(String::new(), value);
        let spec = read(&mut section);
        let errors = section.finish();
        if errors.is_empty() {
            Ok(spec)
        } else {
            Err(SpecErrors(errors))
        }
    }
}

/// Checks one variable on its own, as `PATCH …/env` needs it.
pub fn check_variable(name: &VariableName, value: &str) -> Result<(), String> {
    if name.as_str() == "PORT" || name.as_str().starts_with("SLIPWAY_") {
        return Err(format!("`{name}` is set by the platform; choose another name"));
    }
    if value.len() > ENV_VALUE_BYTES_MAX {
        return Err(format!("`{name}` is longer than {ENV_VALUE_BYTES_MAX} bytes"));
    }
    if value.contains('\0') {
        return Err(format!("`{name}` contains a NUL byte"));
    }
    Ok(())
}

fn read(top: &mut Section<'_>) -> Spec {
    let mut spec = Spec::default();
    let mut port = u32::from(spec.internal_port);
    top.number("internal_port", 1..=65_535, &mut port);
    spec.internal_port = u16::try_from(port).unwrap_or(spec.internal_port);
    spec.env = env(top);
    top.table("secrets", |s| spec.secrets.required = required(s));
    top.table("health", |s| health(s, &mut spec.health));
    top.table("deploy", |s| deploy(s, &mut spec.deploy));
    top.table("scale", |s| scale(s, &mut spec.scale));
    top.table("resources", |s| resources(s, &mut spec.resources));
    top.table("security", |s| security(s, &mut spec.security));
    top.table("http", |s| http(s, &mut spec.http));
    top.table("on_demand_tls", |s| spec.on_demand_tls = on_demand_tls(s));
    spec.mounts = mounts(top);
    spec.cron = cron(top);
    spec
}

fn cron(top: &mut Section<'_>) -> Vec<CronJob> {
    let Some(value) = top.get("cron") else {
        return Vec::new();
    };
    let Some(items) = value.as_array().filter(|items| items.len() <= CRON_COUNT_MAX) else {
        top.invalid(
            "cron",
            format!("must be a list of at most {CRON_COUNT_MAX} tables (`[[cron]]`)"),
        );
        return Vec::new();
    };
    let mut jobs: Vec<CronJob> = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let mut section = Section::new(format!("/cron/{i}"), item);
        if let Some(job) = cron_job(&mut section, i) {
            if jobs.iter().any(|other| other.name == job.name) {
                section.invalid("name", format!("`{}` is the name of another one", job.name));
            }
            jobs.push(job);
        }
        for error in section.finish() {
            top.push(error);
        }
    }
    jobs
}

fn cron_job(section: &mut Section<'_>, place: usize) -> Option<CronJob> {
    let text = |section: &mut Section<'_>, key| section.get(key).map(|v| v.as_str().map(str::to_owned));
    let name = match text(section, "name") {
        None => format!("cron-{}", place + 1).parse().ok(),
        Some(given) => given.as_deref().and_then(|n| n.parse::<CronName>().ok()).or_else(|| {
            section.invalid("name", "must be a name such as `nightly-report`".into());
            None
        }),
    };
    let zone = text(section, "timezone").map_or_else(|| "UTC".to_owned(), Option::unwrap_or_default);
    let schedule = text(section, "schedule").flatten().unwrap_or_default();
    let schedule = match Schedule::parse(&schedule, &zone) {
        Ok(schedule) => Some(schedule),
        Err(error) => {
            let key = if error == ScheduleError::Zone {
                "timezone"
            } else {
                "schedule"
            };
            section.invalid(key, error.to_string());
            None
        }
    };
    let concurrency = match text(section, "concurrency").map(Option::unwrap_or_default).as_deref() {
        None | Some("forbid") => Concurrency::Forbid,
        Some("replace") => Concurrency::Replace,
        Some("allow") => Concurrency::Allow,
        Some(_) => {
            section.invalid("concurrency", "must be `forbid`, `replace` or `allow`".into());
            Concurrency::Forbid
        }
    };
    let mut timeout = RUN_TIMEOUT_DEFAULT;
    section.text("timeout", &mut timeout);
    if !RUN_TIMEOUT_MS.contains(&timeout.as_millis()) {
        section.invalid("timeout", "must be between 1s and 24h".into());
    }
    let words = section.texts("command").unwrap_or_default();
    let command: Vec<String> = words.into_iter().map(|(_, word)| word.to_owned()).collect();
    if let Err(detail) = check_command(&command) {
        section.invalid("command", detail);
        return None;
    }
    Some(CronJob {
        name: name?,
        schedule: schedule?,
        command,
        concurrency,
        timeout,
    })
}

/// Checks a command on its own, as a one-off run needs it.
pub fn check_command(words: &[String]) -> Result<(), String> {
    if words.is_empty() || words.len() > COMMAND_WORDS_MAX || words[0].is_empty() {
        return Err(format!(
            "must be a program and its arguments, 1 to {COMMAND_WORDS_MAX} texts"
        ));
    }
    if words.iter().any(|w| w.contains('\0') || w.len() > 4096) {
        return Err("words have up to 4096 bytes and no NUL".into());
    }
    Ok(())
}

fn env(top: &mut Section<'_>) -> BTreeMap<VariableName, String> {
    let mut env = BTreeMap::new();
    let Some(value) = top.get("env") else { return env };
    let Some(members) = value.as_object() else {
        top.invalid("env", format!("must be a table, not {}", kind_of(value)));
        return env;
    };
    if members.len() > ENV_COUNT_MAX {
        top.invalid("env", format!("has more than {ENV_COUNT_MAX} variables"));
    }
    for (key, value) in members {
        let at = format!("/env/{}", key.replace('~', "~0").replace('/', "~1"));
        match (key.parse::<VariableName>(), value.as_str()) {
            (Err(error), _) => top.invalid_at(at, error.to_string()),
            (Ok(_), None) => top.invalid_at(at, format!("must be a text in quotes, not {}", kind_of(value))),
            (Ok(name), Some(text)) => match check_variable(&name, text) {
                Ok(()) => drop(env.insert(name, text.to_owned())),
                Err(detail) => top.invalid_at(at, detail),
            },
        }
    }
    env
}

fn required(section: &mut Section<'_>) -> Vec<VariableName> {
    let mut names = Vec::new();
    for (at, text) in section.texts("required").unwrap_or_default() {
        match text.parse::<VariableName>() {
            Ok(name) if names.contains(&name) => section.invalid_at(at, format!("`{name}` is listed twice")),
            Ok(name) => names.push(name),
            Err(error) => section.invalid_at(at, error.to_string()),
        }
    }
    if names.len() > REQUIRED_COUNT_MAX {
        section.invalid("required", format!("has more than {REQUIRED_COUNT_MAX} names"));
    }
    names
}

fn health(section: &mut Section<'_>, health: &mut Health) {
    if let Some(value) = section.get("path") {
        match value.as_str() {
            Some(path) if is_path_and_query(path) => health.path = Some(path.to_owned()),
            _ => section.invalid(
                "path",
                "must be a text that begins with `/`, without spaces, up to 1024 bytes".into(),
            ),
        }
    }
    section.text("interval", &mut health.interval);
    section.text("timeout", &mut health.timeout);
    section.text("deadline", &mut health.deadline);
    section.text("restart_after", &mut health.restart_after);
    let bounds = [
        ("interval", health.interval.as_millis(), 100, 60_000),
        ("timeout", health.timeout.as_millis(), 100, 60_000),
        ("deadline", health.deadline.as_millis(), 1_000, 3_600_000),
    ];
    for (key, value, min, max) in bounds {
        if !(min..=max).contains(&value) {
            section.invalid(key, format!("must be between {min}ms and {max}ms"));
        }
    }
    if section.get("path").is_none() && (1_000..=STAY_UP.as_millis()).contains(&health.deadline.as_millis()) {
        section.invalid(
            "deadline",
            format!("must be longer than {STAY_UP}, for which a port must stay open where no `health.path` is asked"),
        );
    }
    if !matches!(health.restart_after.as_millis(), 0 | 5_000..=3_600_000) {
        section.invalid("restart_after", "must be `0s` (never), or between 5s and 1h".into());
    }
}

fn is_path_and_query(path: &str) -> bool {
    path.starts_with('/') && path.len() <= 1024 && path.bytes().all(|b| b.is_ascii_graphic() && b != b'#')
}

fn deploy(section: &mut Section<'_>, deploy: &mut Deploy) {
    match section.get("strategy").map(|v| v.as_str().and_then(Strategy::parse)) {
        None => {}
        Some(Some(strategy)) => deploy.strategy = strategy,
        Some(None) => section.invalid(
            "strategy",
            "must be `rolling`, `bluegreen`, `canary` or `recreate`".into(),
        ),
    }
    traffic(section, deploy);
    gates(section, deploy);
    if let Some(words) = section.texts("release_command") {
        let words: Vec<String> = words.into_iter().map(|(_, word)| word.to_owned()).collect();
        match check_command(&words) {
            Ok(()) => deploy.release_command = words,
            Err(detail) => section.invalid("release_command", detail),
        }
    }
    section.text("drain_timeout", &mut deploy.drain_timeout);
    section.text("kill_timeout", &mut deploy.kill_timeout);
    for (key, value) in [
        ("drain_timeout", deploy.drain_timeout),
        ("kill_timeout", deploy.kill_timeout),
    ] {
        if value.as_millis() > 3_600_000 {
            section.invalid(key, "must be at most 1h".into());
        }
    }
    section.text("kill_signal", &mut deploy.kill_signal);
}

/// How the traffic moves, beyond the strategy's name. What belongs to another strategy is refused: it would be
/// without effect.
fn traffic(section: &mut Section<'_>, deploy: &mut Deploy) {
    let strategy = deploy.strategy;
    let mut surge = 0;
    section.number("max_surge", 1..=REPLICAS_MAX, &mut surge);
    deploy.max_surge = (surge > 0).then_some(surge);
    if deploy.max_surge.is_some() && strategy != Strategy::Rolling {
        section.invalid("max_surge", "is of `strategy = \"rolling\"` only".into());
    }
    section.text("bake_time", &mut deploy.bake_time);
    if deploy.bake_time.as_millis() > 86_400_000 {
        section.invalid("bake_time", "must be at most 24h".into());
    }
    section.flag("sticky", &mut deploy.sticky);
    let given = section.get("canary");
    if strategy == Strategy::Canary {
        deploy.canary = given.map_or_else(|| vec![CanaryStep::default()], |value| canary(section, value));
    } else if given.is_some() {
        section.invalid("canary", "is of `strategy = \"canary\"` only".into());
    }
    if deploy.sticky && strategy != Strategy::Canary {
        section.invalid("sticky", "is of `strategy = \"canary\"` only".into());
    }
}

/// What a new image must pass before the traffic, and where it goes after it.
fn gates(section: &mut Section<'_>, deploy: &mut Deploy) {
    section.flag("approval", &mut deploy.approval);
    match section.get("promote_to").map(|v| v.as_str().map(str::parse)) {
        None => {}
        Some(Some(Ok(name))) => deploy.promote_to = Some(name),
        Some(_) => section.invalid("promote_to", "must be the name of an environment".into()),
    }
    let Some(value) = section.get("smoke") else { return };
    let Some(items) = value.as_array().filter(|items| items.len() <= SMOKE_COUNT_MAX) else {
        let detail = format!("must be a list of at most {SMOKE_COUNT_MAX} tables (`[[deploy.smoke]]`)");
        section.invalid("smoke", detail);
        return;
    };
    for (i, item) in items.iter().enumerate() {
        let mut inner = Section::new(format!("{}/{i}", section.at("smoke")), item);
        let path = inner
            .get("path")
            .and_then(Value::as_str)
            .filter(|p| is_path_and_query(p));
        if path.is_none() {
            inner.invalid(
                "path",
                "must be a text that begins with `/`, without spaces, up to 1024 bytes".into(),
            );
        }
        let mut status = 200;
        inner.number("status", 100..=599, &mut status);
        let contains = match inner.get("contains") {
            None => None,
            Some(value) => {
                let text = value.as_str().filter(|t| (1..=1024).contains(&t.len()));
                if text.is_none() {
                    inner.invalid("contains", "must be a text of 1 to 1024 bytes".into());
                }
                text.map(str::to_owned)
            }
        };
        deploy.smoke.push(Smoke {
            path: path.unwrap_or_default().to_owned(),
            status: u16::try_from(status).unwrap_or(200),
            contains,
        });
        for error in inner.finish() {
            section.push(error);
        }
    }
}

fn canary(section: &mut Section<'_>, value: &Value) -> Vec<CanaryStep> {
    let Some(items) = value
        .as_array()
        .filter(|items| (1..=CANARY_STEPS_MAX).contains(&items.len()))
    else {
        let detail = format!("must be a list of 1 to {CANARY_STEPS_MAX} tables (`[[deploy.canary]]`)");
        section.invalid("canary", detail);
        return Vec::new();
    };
    let mut steps: Vec<CanaryStep> = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let mut step = CanaryStep::default();
        let mut inner = Section::new(format!("{}/{i}", section.at("canary")), item);
        inner.number("weight", 1..=99, &mut step.weight);
        if steps.last().is_some_and(|before| before.weight >= step.weight) {
            inner.invalid("weight", "must be more than the step before has".into());
        }
        inner.text("hold", &mut step.hold);
        if !(1_000..=86_400_000).contains(&step.hold.as_millis()) {
            inner.invalid("hold", "must be between 1s and 24h".into());
        }
        decimal(&mut inner, "max_error_rate", 0.0..=1.0, &mut step.max_error_rate);
        decimal(&mut inner, "max_p99_ratio", 1.0..=1000.0, &mut step.max_p99_ratio);
        steps.push(step);
        for error in inner.finish() {
            section.push(error);
        }
    }
    steps
}

fn decimal(section: &mut Section<'_>, key: &'static str, range: std::ops::RangeInclusive<f64>, into: &mut Decimal) {
    let Some(value) = section.get(key) else { return };
    match value.as_f64().filter(|v| range.contains(v)).and_then(Decimal::from_f64) {
        Some(decimal) => *into = decimal,
        None => section.invalid(
            key,
            format!("must be a number from {} to {}", range.start(), range.end()),
        ),
    }
}

impl FromStr for KillSignal {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Term, Self::Int, Self::Quit, Self::Usr1]
            .into_iter()
            .find(|s| s.as_str() == text)
            .ok_or("must be SIGTERM, SIGINT, SIGQUIT or SIGUSR1")
    }
}

fn scale(section: &mut Section<'_>, scale: &mut Scale) {
    section.number("min", 0..=REPLICAS_MAX, &mut scale.min);
    let mut max = 0;
    section.number("max", 1..=REPLICAS_MAX, &mut max);
    scale.max = (max > 0).then_some(max);
    if scale.max.is_some_and(|max| max < scale.min) {
        section.invalid("max", format!("must be at least `min`, which is {}", scale.min));
    }
    section.number("concurrency", 1..=1000, &mut scale.concurrency);
    section.text("idle_timeout", &mut scale.idle_timeout);
    section.text("pause_for", &mut scale.pause_for);
    let bounds = [
        ("idle_timeout", scale.idle_timeout.as_millis(), 1_000),
        ("pause_for", scale.pause_for.as_millis(), 0),
    ];
    for (key, value, min) in bounds {
        if !(min..=2_592_000_000).contains(&value) {
            section.invalid(key, format!("must be between {} and 30d", Span::from_millis(min)));
        }
    }
}

fn resources(section: &mut Section<'_>, resources: &mut Resources) {
    section.text("cpu", &mut resources.cpu);
    section.text("memory", &mut resources.memory);
    // 6 MiB is the engine's own floor; below it a container cannot be created.
    if !((6 << 20)..=(1 << 44)).contains(&resources.memory.0) {
        section.invalid("memory", "must be between 6MiB and 16TiB".into());
    }
    section.number("pids", 1..=32_768, &mut resources.pids);
}

fn security(section: &mut Section<'_>, security: &mut Security) {
    section.flag("read_only", &mut security.read_only);
    section.text("user", &mut security.user);
}

impl FromStr for RunAs {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "image" {
            return Ok(Self::Image);
        }
        text.parse::<u32>()
            .map(Self::Uid)
            .map_err(|_| "must be a numeric user id in quotes such as `\"65532\"`, or `\"image\"`")
    }
}

fn http(section: &mut Section<'_>, http: &mut Http) {
    section.text("max_body", &mut http.max_body);
    section.text("request_timeout", &mut http.request_timeout);
    if !(100..=86_400_000).contains(&http.request_timeout.as_millis()) {
        section.invalid("request_timeout", "must be between 100ms and 24h".into());
    }
    let mut in_flight = 0;
    section.number("max_in_flight", 1..=1000, &mut in_flight);
    http.max_in_flight = (in_flight > 0).then_some(in_flight);
    section.number("queue", 0..=10_000, &mut http.queue);
    section.text("queue_timeout", &mut http.queue_timeout);
    if http.queue_timeout.as_millis() > 60_000 {
        section.invalid("queue_timeout", "must be at most 60s".into());
    }
    for key in ["rate_limit", "headers"] {
        section.not_available(key);
    }
}

fn on_demand_tls(section: &mut Section<'_>) -> Option<OnDemandTls> {
    let ask = section.get("ask").and_then(Value::as_str);
    let ask = ask.filter(|path| is_path_and_query(path)).map(str::to_owned);
    if ask.is_none() {
        section.invalid(
            "ask",
            "must be the path that tells which names the app serves: it begins with `/`, without spaces, up to 1024 bytes"
                .into(),
        );
    }
    let mut max = ON_DEMAND_NAMES_DEFAULT;
    section.number("max", 1..=10_000, &mut max);
    Some(OnDemandTls { ask: ask?, max })
}

fn mounts(top: &mut Section<'_>) -> Vec<Mount> {
    let Some(value) = top.get("mounts") else {
        return Vec::new();
    };
    let Some(items) = value.as_array() else {
        top.invalid(
            "mounts",
            format!("must be a list of tables (`[[mounts]]`), not {}", kind_of(value)),
        );
        return Vec::new();
    };
    if items.len() > MOUNT_COUNT_MAX {
        top.invalid("mounts", format!("has more than {MOUNT_COUNT_MAX} entries"));
    }
    let mut mounts: Vec<Mount> = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let mut section = Section::new(format!("/mounts/{i}"), item);
        let volume = section.get("volume").and_then(Value::as_str).map(str::parse);
        let path = section.get("path").and_then(Value::as_str).filter(|p| is_mount_path(p));
        match &volume {
            Some(Ok(_)) => {}
            Some(Err(error)) => section.invalid("volume", format!("{error}")),
            None => section.invalid("volume", "give the volume's name".into()),
        }
        if path.is_none() {
            section.invalid(
                "path",
                "give an absolute path without `..`, outside `/proc`, `/sys`, `/dev`, `/etc` and not `/`".into(),
            );
        }
        if let (Some(Ok(volume)), Some(path)) = (volume, path.map(str::to_owned)) {
            if mounts.iter().any(|m| m.volume == volume || m.path == path) {
                section.invalid("path", "the volume or the path is used twice".into());
            }
            mounts.push(Mount { volume, path });
        }
        for error in section.finish() {
            top.push(error);
        }
    }
    mounts
}

fn is_mount_path(path: &str) -> bool {
    let forbidden = ["/proc", "/sys", "/dev", "/etc"];
    path.len() > 1
        && path.len() <= 99
        && path.starts_with('/')
        && !path.ends_with('/')
        && path.bytes().all(|b| b.is_ascii_graphic() && b != b':' && b != b',')
        && path
            .split('/')
            .skip(1)
            .all(|part| !part.is_empty() && part != "." && part != "..")
        && !forbidden
            .iter()
            .any(|f| path == *f || path.starts_with(&format!("{f}/")))
}
