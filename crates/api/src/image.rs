//! What an image reference is right now: asked before the transaction, so that a refusal has written nothing.

use std::time::Duration;

use slipway_domain::ids::TeamId;
use slipway_domain::image::{ImageReference, Pin};
use slipway_domain::name::{AppName, EnvironmentName};
use slipway_domain::ports::{PullPolicy, RegistryCredentials, ResolveError, SealContext};
use slipway_domain::quantity::Span;
use slipway_domain::spec::Strategy;
use slipway_wire::Code;

use crate::apps::create::Beginning;
use crate::call::Call;
use crate::error::{ApiError, Result};

/// How long the engine is asked for an image of its own after a registry refused one.
const LOCAL_LOOK_MAX: Duration = Duration::from_secs(2);
/// The longest line for the record.
const MESSAGE_CHARS_MAX: usize = 500;

/// A deploy as asked for, parsed.
pub(crate) struct DeployRequest {
    pub(crate) app: AppName,
    pub(crate) environment: EnvironmentName,
    pub(crate) image: ImageReference,
    pub(crate) pull: PullPolicy,
    pub(crate) message: Option<String>,
    /// How the traffic moves, if not as the spec says.
    pub(crate) strategy: Option<Strategy>,
    /// What the environment begins with, if it is made for this.
    pub(crate) beginning: Beginning,
}

/// The image of a body or a query.
pub(crate) fn parse_image(pointer: &str, text: &str) -> Result<ImageReference> {
    text.parse().map_err(|error: slipway_domain::image::ImageError| {
        ApiError::member(Code::InvalidImage, pointer, error.to_string())
    })
}

/// The line for the record.
pub(crate) fn parse_message(message: Option<String>) -> Result<Option<String>> {
    match message {
        Some(text) if text.chars().count() > MESSAGE_CHARS_MAX => Err(ApiError::member(
            Code::InvalidBody,
            "/message",
            format!("the message is longer than {MESSAGE_CHARS_MAX} characters"),
        )),
        other => Ok(other.filter(|t| !t.trim().is_empty())),
    }
}

/// How the traffic moves this once.
pub(crate) fn parse_strategy(pointer: &str, strategy: Option<&str>) -> Result<Option<Strategy>> {
    let Some(word) = strategy else { return Ok(None) };
    Strategy::parse(word).map(Some).ok_or_else(|| {
        let detail = "The strategy must be `rolling`, `bluegreen`, `canary` or `recreate`.";
        ApiError::given(pointer, detail)
    })
}

/// Refuses what a deploy may name one day.
pub(crate) fn refuse_later(sbom: bool) -> Result<()> {
    if sbom {
        return Err(ApiError::member(
            Code::NotAvailable,
            "/sbom",
            "A bill of materials cannot be taken in this version; leave `sbom` out.",
        ));
    }
    Ok(())
}

impl Call {
    /// Asks the registry or the local engine, with the team's pull credentials.
    pub(crate) async fn resolve(&self, team: TeamId, image: &ImageReference, pull: PullPolicy) -> Result<Pin> {
        let credentials = match pull {
            PullPolicy::Registry => self.credentials(team, image).await?,
            PullPolicy::Local => None,
        };
        let limit = self.state.settings.resolve_timeout;
        let asked = self.state.resolver.resolve(image, pull, credentials.as_ref());
        if let Ok(resolved) = tokio::time::timeout(limit, asked).await {
            match resolved {
                Err(ResolveError::Unauthorized(text)) if team != self.caller.team => {
                    let text = format!("{text}{}", self.for_team(team).await?);
                    Err(self.or_local(image, ResolveError::Unauthorized(text)).await)
                }
                Err(error) if pull == PullPolicy::Registry => Err(self.or_local(image, error).await),
                other => Ok(other?),
            }
        } else {
            let limit = Span::from_millis(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
            let told = match pull {
                PullPolicy::Registry => ResolveError::Unavailable(format!(
                    "The registry {} did not say within {limit} what `{image}` is. Try again shortly.",
                    image.registry()
                )),
                PullPolicy::Local => ResolveError::EngineUnavailable(format!(
                    "The container engine did not say within {limit} what `{image}` is. Try again shortly."
                )),
            };
            Err(told.into())
        }
    }

    /// Whose credentials count where they are not the token's own team's.
    async fn for_team(&self, team: TeamId) -> Result<String> {
        let mut tx = self.begin().await?;
        let name = tx.team(team).await?.map(|t| t.name);
        Ok(name.map_or_else(String::new, |name| {
            format!("; the app is of the team `{name}`: add `--team {name}` (`?team={name}`)")
        }))
    }

    /// A refusal of the registry, with a word on the image of that name that only the engine has, if it has one.
    async fn or_local(&self, image: &ImageReference, error: ResolveError) -> ApiError {
        let says_nothing = matches!(
            error,
            ResolveError::EngineUnavailable(_) | ResolveError::Platform { .. }
        );
        let asked = self.state.resolver.resolve(image, PullPolicy::Local, None);
        let is_local = !says_nothing && matches!(tokio::time::timeout(LOCAL_LOOK_MAX, asked).await, Ok(Ok(_)));
        let more = |text: String| {
            if is_local {
                format!(
                    "{text}. The server's engine has an image of that name: `slipway deploy --local` takes it (`\"pull\": \"local\"`)"
                )
            } else {
                text
            }
        };
        match error {
            ResolveError::NotFound(text) => ResolveError::NotFound(more(text)),
            ResolveError::Unauthorized(text) => ResolveError::Unauthorized(more(text)),
            ResolveError::Unavailable(text) => ResolveError::Unavailable(more(text)),
            other => other,
        }
        .into()
    }

    async fn credentials(&self, team: TeamId, image: &ImageReference) -> Result<Option<RegistryCredentials>> {
        let mut tx = self.begin().await?;
        let Some(row) = tx.registry(team, image.registry()).await? else {
            return Ok(None);
        };
        drop(tx);
        let context = SealContext {
            team: Some(team),
            kind: "registry",
            id: image.registry().as_str(),
        };
        let password = self.state.sealer.open(context, &row.sealed_password)?;
        Ok(Some(RegistryCredentials {
            username: row.username,
            password,
        }))
    }
}
