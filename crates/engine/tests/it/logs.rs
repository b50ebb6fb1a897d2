//! What containers write: the past, filters, and what comes from now on.

use std::net::SocketAddr;

use slipway_domain::ports::{LogLine, LogQuery, LogReceiver, LogStream};
use slipway_domain::{ReleaseNumber, Timestamp};
use slipway_engine::{Engine, EngineError};

use crate::place::{Place, get, soon, until};

fn query(tail_lines_max: u32) -> LogQuery {
    LogQuery {
        tail_lines_max,
        ..LogQuery::default()
    }
}

/// Every line there is now.
async fn past(place: &Place, query: LogQuery) -> Vec<LogLine> {
    let receiver = place.engine.logs(place.environment(), query).await;
    let mut receiver = receiver.expect("the engine answers");
    let mut lines = Vec::new();
    while let Some(line) = soon("the end of the past", receiver.next()).await {
        lines.push(line);
    }
    lines
}

fn texts(lines: &[LogLine]) -> Vec<&str> {
    lines.iter().map(|l| l.line.as_str()).collect()
}

/// Makes the app write lines, and waits until the engine has them.
async fn write(place: &Place, address: SocketAddr, lines: &[&str]) {
    for line in lines {
        get(address, &format!("/log?line={line}")).expect("the app answers");
    }
    until("the engine has what was written", async || {
        let all = past(place, query(1000)).await;
        lines.iter().all(|l| texts(&all).contains(l)).then_some(())
    })
    .await;
}

async fn next(receiver: &mut Box<dyn LogReceiver>) -> String {
    let line = soon("the next line", receiver.next()).await;
    line.expect("the stream goes on").line
}

#[tokio::test]
async fn the_past_comes_in_order_from_all_instances() {
    let place = Place::with_network().await;
    let group = place.group("").await;
    place.engine.apply_group(&group, &[0, 1]).await.expect("two slots");
    let instances = place.observe().await;
    for (instance, line) in instances.iter().zip(["first", "second"]) {
        let address = instance.address.expect("an address");
        until("the app answers", async || get(address, "/healthz")).await;
        write(&place, address, &[line]).await;
    }
    let all = past(&place, query(100)).await;
    assert!(all.is_sorted_by_key(|l| l.time), "{all:?}");
    assert_eq!(texts(&all)[2..], ["first", "second"]);
    assert_eq!(all.iter().filter(|l| l.line == "listening on 0.0.0.0:8080").count(), 2);
    let of_second = all.iter().find(|l| l.line == "second").expect("the line");
    assert_eq!(
        (of_second.instance.as_str(), of_second.release, of_second.stream),
        (instances[1].id.as_str(), ReleaseNumber(1), LogStream::Stdout)
    );
    assert_eq!(texts(&past(&place, query(1)).await), ["second"]);
    assert_eq!(texts(&past(&place, query(0)).await), [""; 0]);
}

#[tokio::test]
async fn filters_leave_out_what_is_not_wanted() {
    let place = Place::with_network().await;
    let (_, address) = place.serve(&place.group("").await).await;
    write(&place, address, &["apple-1", "pear-1", "apple-2", "pear-2"]).await;
    let all = past(&place, query(100)).await;
    let time = |text: &str| -> Timestamp { all.iter().find(|l| l.line == text).expect("the line").time };
    let with = |change: &dyn Fn(&mut LogQuery)| {
        let mut query = query(100);
        change(&mut query);
        query
    };
    for (wanted, expected) in [
        (with(&|q| q.contains = Some("apple".into())), vec!["apple-1", "apple-2"]),
        (with(&|q| q.since = Some(time("apple-2"))), vec!["apple-2", "pear-2"]),
        (
            with(&|q| {
                q.since = Some(time("apple-1"));
                q.until = Some(time("pear-1"));
            }),
            vec!["apple-1", "pear-1"],
        ),
        (with(&|q| q.stream = Some(LogStream::Stderr)), vec![]),
        (with(&|q| q.release = Some(ReleaseNumber(2))), vec![]),
        (
            with(&|q| {
                q.contains = Some("apple".into());
                q.tail_lines_max = 1;
            }),
            vec!["apple-2"],
        ),
    ] {
        assert_eq!(texts(&past(&place, wanted.clone()).await), expected, "{wanted:?}");
    }
}

#[tokio::test]
async fn a_follower_gets_the_past_what_comes_and_what_a_later_instance_writes() {
    let place = Place::with_network().await;
    let group = place.group("").await;
    let (_, address) = place.serve(&group).await;
    write(&place, address, &["before"]).await;
    let following = LogQuery {
        follow: true,
        ..query(1)
    };
    let receiver = place.engine.logs(place.environment(), following).await;
    let mut receiver = receiver.expect("the engine answers");
    assert_eq!(next(&mut receiver).await, "before");
    get(address, "/log?line=after").expect("the app answers");
    assert_eq!(next(&mut receiver).await, "after");
    place.engine.apply_group(&group, &[1]).await.expect("one more");
    assert_eq!(next(&mut receiver).await, "listening on 0.0.0.0:8080");
    let second = place.observe().await[1].address.expect("an address");
    get(second, "/log?line=from-the-second").expect("the app answers");
    assert_eq!(next(&mut receiver).await, "from-the-second");
    // One that ends and is started again goes on where it was, and nothing comes twice.
    get(second, "/exit");
    until("the second has ended", async || {
        (!place.observe().await[1].is_running()).then_some(())
    })
    .await;
    place.engine.apply_group(&group, &[1]).await.expect("started again");
    assert_eq!(next(&mut receiver).await, "listening on 0.0.0.0:8080");
    get(address, "/log?line=last").expect("the app answers");
    assert_eq!(next(&mut receiver).await, "last");
}

#[tokio::test]
async fn the_tail_of_an_ended_container_tells_its_last_words() {
    let place = Place::with_network().await;
    place
        .engine
        .apply_group(&place.group("exit").await, &[0])
        .await
        .expect("one slot");
    until("it ends", async || (!place.only().await.is_running()).then_some(())).await;
    let id = place.only().await.id;
    let tail = place.engine.log_tail(&id, 2).await.expect("a tail");
    assert_eq!(tail, ["connecting to the database", "the database refuses: giving up"]);
    let whole = place.engine.log_tail(&id, 50).await.expect("a tail");
    assert_eq!(whole.len(), 3, "{whole:?}");
    let answer = place.engine.log_tail("no-such-container", 2).await;
    assert!(matches!(answer, Err(EngineError::NotFound(_))), "{answer:?}");
}
