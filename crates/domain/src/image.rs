//! Image references and the digest or id that pins what runs (OCI distribution specification 1.1, section 3).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why an image reference was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not {what}: {rule}")]
pub struct ImageError {
    given: String,
    what: &'static str,
    rule: &'static str,
}

/// `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(String);

impl Digest {
    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Enough of it for a person to recognise.
    pub fn short(&self) -> &str {
        &self.0["sha256:".len().."sha256:".len() + 12]
    }
}

impl FromStr for Digest {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        let hex = text.strip_prefix("sha256:").unwrap_or_default();
        if hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(refuse(
                text,
                "a digest is `sha256:` and 64 lower-case hexadecimal digits",
            ))
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A registry host with an optional port, as pull credentials are filed under.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegistryHost(String);

impl RegistryHost {
    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RegistryHost {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        let (host, port) = text.rsplit_once(':').map_or((text, None), |(h, p)| (h, Some(p)));
        let host_ok = !host.is_empty()
            && host.len() <= 253
            && host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
        let port_ok = port.is_none_or(|p| p.parse::<u16>().is_ok_and(|n| n > 0));
        if host_ok && port_ok {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(ImageError {
                what: "a registry",
                ..refuse(text, "give a host name or address with an optional port")
            })
        }
    }
}

impl fmt::Display for RegistryHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a person or a pipeline asked for: `registry/repository:tag`, `…@sha256:…`, or a bare local image id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageReference {
    registry: RegistryHost,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
    given: String,
}

/// The registry of references that name none, as every engine has it.
const DEFAULT_REGISTRY: &str = "docker.io";

impl ImageReference {
    /// The registry that holds it.
    pub fn registry(&self) -> &RegistryHost {
        &self.registry
    }

    /// The repository without registry, tag or digest.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if one was given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was given.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The name without tag and digest, as the engine wants it for a pull by digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The reference as it was typed.
    pub fn as_given(&self) -> &str {
        &self.given
    }
}

impl FromStr for ImageReference {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        if text.is_empty() || text.len() > 512 {
            return Err(refuse(text, "give `registry/repository:tag`, up to 512 characters"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>()?)),
            None => (text, None),
        };
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|t| !is_tag(t)) {
            return Err(refuse(text, "a tag has up to 128 letters, digits, `_`, `.` or `-`"));
        }
        let (registry, repository) = match path.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
                (first.parse()?, rest.to_owned())
            }
            Some(_) => (RegistryHost(DEFAULT_REGISTRY.into()), path.to_owned()),
            None => (RegistryHost(DEFAULT_REGISTRY.into()), format!("library/{path}")),
        };
        if !repository.split('/').all(is_repository_part) {
            return Err(refuse(
                text,
                "a repository has lower-case letters, digits and `.`, `_`, `-` between slashes",
            ));
        }
        Ok(Self {
            registry,
            repository,
            tag: tag.map(str::to_owned),
            digest,
            given: text.to_owned(),
        })
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.given)
    }
}

fn refuse(given: &str, rule: &'static str) -> ImageError {
    ImageError {
        given: given.chars().take(200).collect(),
        what: "an image reference",
        rule,
    }
}

fn is_tag(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && !text.starts_with(['.', '-'])
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

fn is_repository_part(part: &str) -> bool {
    !part.is_empty()
        && part
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
        && part.as_bytes()[0].is_ascii_alphanumeric()
        && part.as_bytes()[part.len() - 1].is_ascii_alphanumeric()
}

/// How the bytes that run are fixed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Pin {
    /// By the manifest digest in a registry; `name` is the reference without tag and digest.
    Registry {
        /// `registry/repository`.
        name: String,
        /// The registry, to find pull credentials again.
        registry: String,
        /// The manifest or index digest that was resolved at accept.
        digest: Digest,
    },
    /// By the id of an image that only the local engine has.
    Local {
        /// The image id (the digest of its configuration).
        id: Digest,
    },
}

impl Pin {
    /// What the engine is told to run.
    pub fn engine_reference(&self) -> String {
        match self {
            Self::Registry { name, digest, .. } => format!("{name}@{digest}"),
            Self::Local { id } => id.to_string(),
        }
    }

    /// The digest or id.
    pub fn digest(&self) -> &Digest {
        match self {
            Self::Registry { digest, .. } => digest,
            Self::Local { id } => id,
        }
    }
}

/// `linux/amd64` and the like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// Operating system.
    pub os: String,
    /// Processor architecture in Go's spelling.
    pub architecture: String,
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_as_an_engine_finds_them() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, name, tag) in [
            ("nginx", "docker.io/library/nginx", None),
            ("team/web:1", "docker.io/team/web", Some("1")),
            ("127.0.0.1:5000/web", "127.0.0.1:5000/web", None),
            ("localhost/web:2", "localhost/web", Some("2")),
            (
                "registry.example.com/a/b:4f2c1ab",
                "registry.example.com/a/b",
                Some("4f2c1ab"),
            ),
            (
                &format!("registry.example.com/a/b@{digest}"),
                "registry.example.com/a/b",
                None,
            ),
        ] {
            let parsed: ImageReference = text.parse().expect(text);
            assert_eq!((parsed.name().as_str(), parsed.tag()), (name, tag), "{text}");
        }
    }

    #[test]
    fn refuses_what_an_engine_would_refuse() {
        for bad in [
            "",
            "Team/Web",
            "a//b",
            "web:",
            "web:-x",
            "web@sha256:12",
            "web@md5:aa",
            "-a",
            "a b",
            "host:99999/web",
        ] {
            assert!(bad.parse::<ImageReference>().is_err(), "{bad}");
        }
    }
}
