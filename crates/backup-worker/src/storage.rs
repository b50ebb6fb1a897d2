//! Which storage an address names.
//!
//! | address | storage |
//! |---|---|
//! | `file:///path` | a directory of this machine, or one that is mounted |
//! | `s3://bucket/prefix?endpoint=https://host&region=…` | what speaks the S3 protocol |
//! | `gs://bucket/prefix` | Google Cloud Storage |
//! | `az://container/prefix` | Azure Blob Storage |
//!
//! Credentials come from the variables that the tools of each use (`AWS_…`, `GOOGLE_…`, `AZURE_…`), never from the
//! address, which is shown.

use std::path::{Path as FilePath, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use url::Url;

use crate::destination::Destination;

/// The variables that the tools of a storage use begin so.
const S3: &str = "AWS_";
const GOOGLE: &str = "GOOGLE_";
const AZURE: &str = "AZURE_";

/// An address of a storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    url: Url,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Directory(PathBuf),
    Bucket {
        /// Variables that begin so are about it.
        variables: &'static str,
        /// What the address says beside the bucket.
        options: Vec<(String, String)>,
    },
}

impl Location {
    /// A directory of this machine.
    pub fn directory(path: &FilePath) -> Option<Self> {
        Some(Self {
            url: Url::from_file_path(path).ok()?,
            kind: Kind::Directory(path.to_path_buf()),
        })
    }

    /// The directory, if it is one: its disk may be the very one that the platform needs.
    pub fn as_directory(&self) -> Option<&FilePath> {
        match &self.kind {
            Kind::Directory(path) => Some(path),
            Kind::Bucket { .. } => None,
        }
    }

    /// Opens it, with those variables of the environment that are about it; nothing is asked of it yet.
    pub fn open<'a>(&self, variables: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Destination, String> {
        let (prefix, options) = match &self.kind {
            Kind::Directory(path) => {
                std::fs::create_dir_all(path).map_err(|error| format!("{} cannot be made: {error}", path.display()))?;
                let store = LocalFileSystem::new_with_prefix(path).map_err(|error| error.to_string())?;
                // What is said to be stored must outlive a loss of power.
                return Ok(Destination::new(Arc::new(store.with_fsync(true)), Path::default()));
            }
            Kind::Bucket { variables, options } => (*variables, options),
        };
        let given = variables.filter(|(name, _)| name.starts_with(prefix));
        let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (store, path) = object_store::parse_url_opts(&self.url, given.chain(options.iter().cloned()))
            .map_err(|error| error.to_string())?;
        let store: Arc<dyn ObjectStore> = Arc::from(store);
        Ok(Destination::new(store, path))
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.url.fmt(f)
    }
}

impl FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            "give file:///path, s3://bucket/prefix?endpoint=https://host, gs://bucket/prefix or az://container/prefix";
        let mut url = Url::parse(text).map_err(|_| expected.to_owned())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "give credentials in the variables of the storage (AWS_…, GOOGLE_…, AZURE_…), not in its address"
                    .into(),
            );
        }
        let variables = match url.scheme() {
            "file" => {
                let path = url
                    .to_file_path()
                    .map_err(|()| "give a path from the root: file:///path".to_owned())?;
                let kind = Kind::Directory(path);
                return Ok(Self { url, kind });
            }
            "s3" => S3,
            "gs" => GOOGLE,
            "az" => AZURE,
            _ => return Err(expected.to_owned()),
        };
        if url.host_str().is_none_or(str::is_empty) {
            return Err(expected.to_owned());
        }
        let mut options = Vec::new();
        for (name, value) in url.query_pairs() {
            let option = match (variables, name.as_ref()) {
                (_, "endpoint") => {
                    let endpoint = Url::parse(&value)
                        .ok()
                        .filter(|e| matches!(e.scheme(), "http" | "https"));
                    let endpoint = endpoint.ok_or("give the endpoint as https://host or http://host:port")?;
                    if endpoint.scheme() == "http" {
                        options.push(("allow_http".to_owned(), "true".to_owned()));
                    }
                    "endpoint"
                }
                (S3, "region") => "aws_region",
                (S3, "virtual_hosted") => "aws_virtual_hosted_style_request",
                _ => {
                    return Err(format!(
                        "`{name}` is no option of such an address: there are endpoint and, for s3, region and virtual_hosted"
                    ));
                }
            };
            options.push((option.to_owned(), value.trim_end_matches('/').to_owned()));
        }
        url.set_query(None);
        let kind = Kind::Bucket { variables, options };
        Ok(Self { url, kind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_that_name_a_storage() {
        for good in [
            "file:///var/backups",
            "s3://bucket",
            "s3://bucket/some/prefix?endpoint=http://127.0.0.1:9000&region=eu-central-1",
            "gs://bucket/prefix",
            "az://container/prefix",
        ] {
            assert!(good.parse::<Location>().is_ok(), "{good}");
        }
    }

    #[test]
    fn addresses_are_refused_with_what_would_do() {
        for (bad, expected) in [
            ("/var/backups", "file:///path"),
            ("file://relative/path", "from the root"),
            ("s3://", "s3://bucket"),
            ("http://host/bucket", "s3://bucket"),
            ("s3://key:secret@bucket", "AWS_"),
            ("s3://bucket?endpoint=host", "https://host"),
            ("s3://bucket?colour=red", "`colour`"),
        ] {
            let error = bad.parse::<Location>().expect_err(bad);
            assert!(error.contains(expected), "{bad}: {error}");
        }
    }

    #[test]
    fn a_bucket_is_opened_with_the_variables_that_are_about_it() {
        let location: Location = "s3://bucket/pre?endpoint=http://127.0.0.1:9"
            .parse()
            .expect("an address");
        assert_eq!(location.to_string(), "s3://bucket/pre");
        let variables = [
            ("AWS_ACCESS_KEY_ID", "k"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
            ("HOME", "/root"),
        ];
        let opened = location.open(variables.into_iter()).expect("opened");
        assert!(format!("{opened:?}").contains("bucket"), "{opened:?}");
    }
}
