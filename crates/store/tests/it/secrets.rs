//! Secrets, registries and the key check: versions grow, only ciphertext is kept.

use slipway_domain::ids::SecretId;
use slipway_domain::secret::Sealed;
use slipway_store::{Registry, SealedSecret, SecretInfo};

use crate::db::with_store;
use crate::fixture::{Counter, add_team, second, tx, web};

fn secret(name: &str, bytes: &[u8], s: i64) -> SealedSecret {
    SealedSecret {
        info: SecretInfo {
            id: SecretId::mint(second(s), &Counter),
            name: name.parse().expect("valid"),
            version: 0,
            fingerprint: format!("fp{s}"),
            created_at: second(s),
            created_by: "ana".into(),
        },
        sealed: Sealed {
            key_version: 3,
            bytes: bytes.to_vec(),
        },
    }
}

#[tokio::test]
async fn a_secret_has_versions_and_pinned_ones_stay_readable() {
    with_store(async |_, store| {
        let (_, _, environment) = web(&store).await;
        let mut tx = tx(&store).await;
        let old = secret("API_KEY", b"\x00\xffold", 1);
        let new = secret("API_KEY", b"new", 2);
        let other = secret("TOKEN", b"other", 3);
        assert_eq!(tx.put_secret(&environment, &old).await.expect("put"), 1);
        assert_eq!(tx.put_secret(&environment, &new).await.expect("put"), 2);
        assert_eq!(tx.put_secret(&environment, &other).await.expect("put"), 1);
        let current = tx.current_secrets(environment.id).await.expect("read");
        let seen: Vec<_> = current.iter().map(|i| (i.name.as_str(), i.version, i.id)).collect();
        assert_eq!(seen, [("API_KEY", 2, new.info.id), ("TOKEN", 1, other.info.id)]);

        assert!(
            tx.delete_secret(environment.id, &new.info.name, second(4))
                .await
                .expect("asked")
        );
        assert!(
            !tx.delete_secret(environment.id, &new.info.name, second(4))
                .await
                .expect("asked")
        );
        let left = tx.current_secrets(environment.id).await.expect("read");
        assert_eq!(left.len(), 1, "an older version does not come back");
        let sealed = tx.sealed_secrets(&[old.info.id, new.info.id]).await.expect("read");
        assert_eq!(sealed.len(), 2, "a release may still pin them");
        let kept = sealed.iter().find(|s| s.info.id == old.info.id).expect("is there");
        assert_eq!(kept.sealed, old.sealed);
        let again = secret("API_KEY", b"again", 5);
        assert_eq!(tx.put_secret(&environment, &again).await.expect("put"), 3);
        assert_eq!(tx.current_secrets(environment.id).await.expect("read").len(), 2);
    })
    .await;
}

#[tokio::test]
async fn registry_credentials_belong_to_a_team_and_are_replaced() {
    with_store(async |_, store| {
        let (one, two) = (add_team(&store, "one").await, add_team(&store, "two").await);
        let registry = |password: &[u8]| Registry {
            host: "registry.test:5000".parse().expect("valid"),
            username: "ci".into(),
            sealed_password: Sealed {
                key_version: 1,
                bytes: password.to_vec(),
            },
            updated_at: second(1),
            updated_by: "ana".into(),
        };
        let mut tx = tx(&store).await;
        tx.put_registry(one.id, &registry(b"first")).await.expect("put");
        tx.put_registry(one.id, &registry(b"second")).await.expect("put");
        let host = registry(b"").host;
        let found = tx.registry(one.id, &host).await.expect("read").expect("is there");
        assert_eq!(found.sealed_password.bytes, b"second");
        assert!(tx.registry(two.id, &host).await.expect("read").is_none());
        assert_eq!(tx.registries(one.id).await.expect("read").len(), 1);
        assert!(!tx.delete_registry(two.id, &host).await.expect("asked"));
        assert!(tx.delete_registry(one.id, &host).await.expect("asked"));
        assert!(!tx.delete_registry(one.id, &host).await.expect("asked"));
    })
    .await;
}

#[tokio::test]
async fn the_key_check_is_kept() {
    with_store(async |_, store| {
        let mut tx = tx(&store).await;
        assert_eq!(tx.key_check().await.expect("read"), None);
        let sealed = Sealed {
            key_version: 1,
            bytes: vec![0, 1, 255],
        };
        tx.set_key_check(&sealed).await.expect("written");
        assert_eq!(tx.key_check().await.expect("read"), Some(sealed));
    })
    .await;
}
