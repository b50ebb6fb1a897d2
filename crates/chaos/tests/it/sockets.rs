//! Web sockets that end well, and those that do not.

use futures_util::{SinkExt as _, StreamExt as _};
use slipway_chaos::load::{Kind, Load, Mix, Report};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::server::{Server, Stream};
use crate::within;

const ECHOES: usize = 3;

/// How a socket ends after a few echoes.
#[derive(Clone, Copy)]
enum End {
    /// With this code, at once.
    Between(CloseCode),
    /// With this code, in place of an echo.
    InPlace(CloseCode),
    /// Without a word, in place of an echo.
    Dropped,
    /// With another text.
    Changed,
}

async fn serve(stream: Stream, end: End) {
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else {
        return;
    };
    for _ in 0..ECHOES {
        match socket.next().await {
            Some(Ok(message)) if message.is_text() => {
                if socket.send(message).await.is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
    let code = match end {
        End::Between(code) => code,
        End::InPlace(code) => {
            let _ = socket.next().await;
            code
        }
        End::Dropped => {
            let _ = socket.next().await;
            return;
        }
        End::Changed => {
            let _ = socket.next().await;
            let _ = socket.send(Message::text("something else")).await;
            return;
        }
    };
    let frame = CloseFrame {
        code,
        reason: "enough".into(),
    };
    let _ = socket.close(Some(frame)).await;
    // Until the client has answered.
    while let Some(Ok(_)) = socket.next().await {}
}

async fn run(end: End) -> (Report, usize) {
    let server = Server::start("http/1.1", move |stream, _| serve(stream, end)).await;
    let mix = Mix {
        kind: Kind::WebSocket,
        per_second: 100,
    };
    let load = Load::start(server.target(), &[mix], 7).expect("a load");
    within(
        "enough exchanges",
        load.until(|so_far| so_far.answered + so_far.lost >= 30),
    )
    .await;
    let report = within("the load to stop", load.stop()).await;
    assert_eq!(report.sent, report.answered + report.lost_count, "{report}");
    (report, server.connections())
}

#[tokio::test]
async fn a_socket_that_is_closed_between_messages_is_opened_anew_without_a_loss() {
    for code in [CloseCode::Normal, CloseCode::Away, CloseCode::Restart] {
        let (report, connections) = run(End::Between(code)).await;
        assert_eq!(report.lost_count, 0, "{report}");
        assert!(report.reopened + report.resent > 0, "{report}");
        assert!((connections as u64) < report.answered, "sockets are kept: {report}");
    }
}

#[tokio::test]
async fn a_goodbye_in_place_of_an_echo_is_answered_by_sending_again() {
    let (report, _) = run(End::InPlace(CloseCode::Away)).await;
    assert_eq!(report.lost_count, 0, "{report}");
    assert!(report.resent > 0, "{report}");
}

#[tokio::test]
async fn an_error_in_place_of_an_echo_is_a_loss() {
    let (report, _) = run(End::InPlace(CloseCode::Error)).await;
    assert!(report.lost_count > 0 && report.resent == 0, "{report}");
}

#[tokio::test]
async fn a_socket_that_breaks_in_place_of_an_echo_is_a_loss() {
    let (report, _) = run(End::Dropped).await;
    assert!(report.lost_count > 0 && report.resent == 0, "{report}");
}

#[tokio::test]
async fn another_text_than_the_one_that_was_sent_is_a_loss() {
    let (report, _) = run(End::Changed).await;
    assert!(report.lost_count > 0, "{report}");
    assert!(report.lost[0].reason.contains("something else"), "{report}");
}
