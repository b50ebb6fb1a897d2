//! Collects images that no kept release needs.
//!
//! Promises: only images that Slipway itself pulled for a release are ever removed; those of running releases and of
//! rollback targets are kept, and so is whatever somebody else tagged.

use std::collections::BTreeSet;

use slipway_domain::image::Pin;
use slipway_engine::LocalImage;

use crate::operate::OpError;
use crate::settings::Deps;

/// Removes what is not needed and says what.
pub(crate) async fn images(deps: &Deps) -> Result<(), OpError> {
    let mut tx = deps.store.begin().await?;
    let kept: BTreeSet<String> = tx.kept_images().await?.iter().map(Pin::engine_reference).collect();
    let all = tx.all_images().await?;
    drop(tx);
    let ours: BTreeSet<String> = all.iter().map(Pin::engine_reference).collect();
    let present = deps.engine.images().await?;
    let mut removed = BTreeSet::new();
    for reference in collectable(&present, &ours, &kept) {
        // One that a container of somebody else's uses is looked at again the next time.
        if deps.engine.remove_image(&reference).await? {
            tracing::info!(image = %reference, "image.collected");
            removed.insert(reference);
        }
    }
    let is_here = |reference: &String| {
        let held = present.iter().any(|i| i.repo_digests.contains(reference));
        held && !removed.contains(reference)
    };
    let gone = |pin: &&Pin| !is_here(&pin.engine_reference());
    let gone: Vec<Pin> = all.iter().filter(gone).cloned().collect();
    let mut tx = deps.store.begin().await?;
    tx.forget_orphans(&gone).await?;
    Ok(tx.commit().await?)
}

/// References we pulled, need no more, and share with nobody.
fn collectable(images: &[LocalImage], ours: &BTreeSet<String>, kept: &BTreeSet<String>) -> Vec<String> {
    images
        .iter()
        .filter(|i| i.tags.is_empty())
        .flat_map(|i| &i.repo_digests)
        .filter(|r| ours.contains(*r) && !kept.contains(*r))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_we_pulled_and_nobody_needs_is_collected() {
        let digest = |n: char| format!("registry.example.com/web@sha256:{}", n.to_string().repeat(64));
        let image = |n: char, tags: &[&str]| LocalImage {
            id: format!("sha256:{}", n.to_string().repeat(64)).parse().expect("digest"),
            repo_digests: vec![digest(n)],
            tags: tags.iter().map(ToString::to_string).collect(),
            size_bytes: 1,
        };
        let images = [
            image('a', &[]),
            image('b', &[]),
            image('c', &["mine:1"]),
            image('d', &[]),
        ];
        let ours = ['a', 'b', 'c'].map(digest).into();
        let kept = [digest('a')].into();
        assert_eq!(collectable(&images, &ours, &kept), [digest('b')]);
    }
}
