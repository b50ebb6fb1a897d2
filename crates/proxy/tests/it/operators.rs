//! What operators see: metrics, logs, refusals at start.

use std::io::Write;
use std::sync::Arc;

use http::{Method, StatusCode};
use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

use crate::apps;
use crate::client::{Speak, request};
use crate::world::{Scene, World, within};

const NAME: &str = "web.apps.localhost";

#[tokio::test]
async fn metrics_name_apps_from_the_snapshot_and_forget_those_that_left() {
    let app = apps::polite("web1").await;
    let scene = Scene::new().serving("web", &[app.upstream()]);
    let world = World::start(&scene).await;
    for _ in 0..3 {
        world.client.get(NAME, "/").await;
    }
    world.client.get("nobody.apps.localhost", "/made-up").await;
    let wanted = "http_server_request_duration_seconds_count{app=\"web\",environment=\"production\",method=\"GET\",status=\"2xx\"} 3";
    let text = within("the observations", async {
        loop {
            let page = world.client.admin("/metrics").await;
            if page.text().contains(wanted) {
                break page.text().to_owned();
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    for line in [
        "slipway_build_info{component=\"proxy\",version=\"test\"} 1",
        "http_server_active_requests{app=\"web\",environment=\"production\"} 0",
        "http_server_request_duration_seconds_count{app=\"-\",environment=\"-\",method=\"GET\",status=\"4xx\"} 1",
        "slipway_proxy_snapshot_version 1",
        "slipway_proxy_feed_connected 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("nobody") && !text.contains("made-up"));
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end))
            .unwrap_or(name);
        assert!(text.contains(&format!("# TYPE {family} ")), "{line}");
    }
    let mut gone = Scene::new();
    gone.snapshot.version = scene.snapshot.version.next();
    world.show(&gone).await;
    assert!(!world.client.admin("/metrics").await.text().contains("app=\"web\""));
}

#[derive(Debug, Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn each_request_is_one_line_without_its_query() {
    let captured = Captured::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_writer(captured.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let app = apps::polite("web1").await;
    let world = World::start(&Scene::new().serving("web", &[app.upstream()])).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = [("traceparent", trace), ("authorization", "Bearer hush")];
    let sent = request(Method::POST, "/digest?token=hush", &headers, "abc");
    let answer = world.client.send(Speak::H2, NAME, sent).await;
    assert_eq!(answer.status, StatusCode::OK);
    let line = within("the line", async {
        loop {
            let text = String::from_utf8(captured.0.lock().clone()).expect("UTF-8");
            if let Some(line) = text.lines().find(|line| line.contains("slipway.access")) {
                assert!(!text.contains("hush"), "{text}");
                break serde_json::from_str::<serde_json::Value>(line).expect("JSON");
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    for (field, value) in [
        ("trace_id", "0af7651916cd43dd8448eb211c80319c"),
        ("app", "web"),
        ("environment", "production"),
        ("method", "POST"),
        ("path", "/digest"),
        ("protocol", "HTTP/2.0"),
        ("instance", "web1"),
        ("request_id", answer.header("x-request-id")),
    ] {
        assert_eq!(line[field].as_str(), Some(value), "{field} in {line}");
    }
    assert_eq!(
        (line["status"].as_u64(), line["bytes_in"].as_u64()),
        (Some(200), Some(3))
    );
    assert_eq!(
        line["bytes_out"].as_u64().and_then(|n| usize::try_from(n).ok()),
        Some(answer.body.len())
    );
    assert!(
        line["duration_ms"].as_f64().is_some_and(|millis| millis > 0.0),
        "{line}"
    );
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    use slipway_proxy::{Config, Listen, ProxyLimits};
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let dir = tempfile::tempdir().expect("a directory");
    let free = || Listen::Address(([127, 0, 0, 1], 0).into());
    let config = Config {
        http: free(),
        https: Listen::Address(address),
        admin: None,
        https_redirect_port: 443,
        control_socket: dir.path().join("control.sock"),
        state_dir: dir.path().join("state"),
        trusted_proxies: Vec::new(),
        trace: None,
        version: "test".into(),
        limits: ProxyLimits::default(),
    };
    let clock = Arc::new(slipway_domain::clock::testing::FixedClock(chrono::Utc::now()));
    let entropy = Arc::new(slipway_domain::clock::testing::FixedEntropy(1));
    let ended = slipway_proxy::run(config, clock, entropy, tokio_util::sync::CancellationToken::new()).await;
    let text = ended.expect_err("refused").to_string();
    assert!(
        text.contains(&address.to_string()) && text.contains("free the port"),
        "{text}"
    );
}
