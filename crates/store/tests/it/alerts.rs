//! Alerts: one at a time of a kind, told until somebody has heard it.

use slipway_domain::Timestamp;
use slipway_domain::alert::{AlertKind, Notice};
use slipway_domain::ids::{AlertId, ReleaseId};
use slipway_store::{AlertFilter, Environment, Page, Store, Tx};

use crate::db::with_store;
use crate::fixture::{Counter, fenced, lead, second, tx, web};

const KIND: AlertKind = AlertKind::CrashLoop;

async fn raise(tx: &mut Tx, environment: &Environment, at: Timestamp) {
    let id = AlertId::mint(at, &Counter);
    let release = ReleaseId::mint(second(0), &Counter);
    tx.raise_alert(id, environment, (KIND, release, "it ends"), at)
        .await
        .expect("raised");
}

async fn all(store: &Store) -> Vec<Notice> {
    let page = Page { limit: 50, after: None };
    let listed = tx(store).await.alerts(&AlertFilter::default(), &page).await;
    listed.expect("listed")
}

async fn untold(store: &Store, at: Timestamp) -> Vec<Notice> {
    tx(store).await.untold_alerts(at).await.expect("read")
}

#[tokio::test]
async fn the_same_alert_begins_once_until_it_is_over() {
    with_store(async |_, store| {
        let (_, _, web) = web(&store).await;
        let epoch = lead(&store, 1).await.expect("leads");
        let mut tx = fenced(&store, epoch).await;
        raise(&mut tx, &web, second(1)).await;
        raise(&mut tx, &web, second(2)).await;
        tx.clear_alert(web.id, KIND, second(3)).await.expect("cleared");
        raise(&mut tx, &web, second(4)).await;
        tx.commit().await.expect("commits");
        let times: Vec<_> = all(&store).await.iter().map(|n| (n.started_at, n.ended_at)).collect();
        assert_eq!(times, [(second(4), None), (second(1), Some(second(3)))]);
        let mut tx = crate::fixture::tx(&store).await;
        let world = tx.load_world(web.id).await.expect("read").expect("is there");
        assert!(world.alerts.contains_key(&KIND), "it goes on");
    })
    .await;
}

#[tokio::test]
async fn an_alert_is_handed_out_until_it_was_told_and_its_end_after_it() {
    with_store(async |_, store| {
        let (_, _, web) = web(&store).await;
        let epoch = lead(&store, 1).await.expect("leads");
        let mut write = fenced(&store, epoch).await;
        raise(&mut write, &web, second(0)).await;
        write.commit().await.expect("commits");
        // Nobody can be told: 1, 2, 4, … seconds later again.
        for (now, again) in [(0, 1), (1, 3), (3, 7)] {
            let due = untold(&store, second(now)).await;
            assert_eq!(due.len(), 1, "{now}");
            let mut write = tx(&store).await;
            write.alert_not_told(&due[0], second(now)).await.expect("noted");
            write.commit().await.expect("commits");
            assert!(untold(&store, second(again - 1)).await.is_empty(), "not before {again}");
        }
        let due = untold(&store, second(7)).await;
        let mut write = tx(&store).await;
        write.alert_told(&due[0]).await.expect("noted");
        write.commit().await.expect("commits");
        assert!(untold(&store, second(9_999)).await.is_empty(), "it was told");

        let mut write = fenced(&store, epoch).await;
        write.clear_alert(web.id, KIND, second(100)).await.expect("cleared");
        write.commit().await.expect("commits");
        let due = untold(&store, second(100)).await;
        assert_eq!(due[0].ended_at, Some(second(100)), "the end is told at once");
        let mut write = tx(&store).await;
        write.alert_told(&due[0]).await.expect("noted");
        write.commit().await.expect("commits");
        assert!(untold(&store, second(9_999)).await.is_empty());

        // What is over before anybody was told of it is not told at all.
        let mut write = fenced(&store, epoch).await;
        raise(&mut write, &web, second(200)).await;
        write.clear_alert(web.id, KIND, second(201)).await.expect("cleared");
        write.commit().await.expect("commits");
        assert!(untold(&store, second(9_999)).await.is_empty());

        let mut write = tx(&store).await;
        write.prune_alerts(second(150)).await.expect("pruned");
        write.commit().await.expect("commits");
        let left: Vec<_> = all(&store).await.iter().map(|n| n.started_at).collect();
        assert_eq!(left, [second(200)]);
    })
    .await;
}
