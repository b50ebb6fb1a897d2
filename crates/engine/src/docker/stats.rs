//! What containers use right now.

use std::collections::HashMap;

use bollard::Docker;
use bollard::models::ContainerStatsResponse;
use bollard::query_parameters::StatsOptions;
use futures_util::StreamExt;
use parking_lot::Mutex;
use slipway_domain::Timestamp;
use slipway_domain::ports::Usage;

use crate::docker::QUESTION;

/// So many containers are asked at once.
const QUESTIONS_MAX: usize = 8;
/// Readings kept; beyond it all are forgotten, which costs one reading each.
const READINGS_MAX: usize = 4096;

/// The last CPU reading of each container: when, and nanoseconds in all.
pub(crate) type Readings = HashMap<String, (Timestamp, u64)>;

pub(crate) async fn usage(docker: &Docker, readings: &Mutex<Readings>, ids: &[String]) -> Vec<(String, Usage)> {
    let asked: Vec<_> = ids.iter().cloned().map(|id| ask(docker.clone(), id)).collect();
    let found: Vec<_> = futures_util::stream::iter(asked)
        .buffer_unordered(QUESTIONS_MAX)
        .collect()
        .await;
    let mut readings = readings.lock();
    if readings.len() > READINGS_MAX {
        readings.clear();
    }
    found
        .into_iter()
        .flatten()
        .filter_map(|(id, stats)| {
            let usage = read(&stats, readings.get(&id).copied())?;
            let reading = stats.read.zip(stats.cpu_stats.and_then(|c| c.cpu_usage?.total_usage))?;
            readings.insert(id.clone(), reading);
            Some((id, usage))
        })
        .collect()
}

async fn ask(docker: Docker, id: String) -> Option<(String, ContainerStatsResponse)> {
    let options = StatsOptions {
        stream: false,
        one_shot: true,
    };
    let mut stream = Box::pin(docker.stats(&id, Some(options)));
    let stats = tokio::time::timeout(QUESTION, stream.next()).await.ok()??.ok()?;
    drop(stream);
    Some((id, stats))
}

/// Cores since the last reading, and memory without the page cache that can be reclaimed: cgroup v1 calls it
/// `total_inactive_file`, v2 `inactive_file`. `None` for a container that does not run: it has no memory at all.
fn read(stats: &ContainerStatsResponse, before: Option<(Timestamp, u64)>) -> Option<Usage> {
    let memory = stats.memory_stats.as_ref()?;
    let used = memory.usage?;
    let cache = memory
        .stats
        .as_ref()
        .and_then(|s| s.get("total_inactive_file").or(s.get("inactive_file")));
    let total = stats.cpu_stats.as_ref().and_then(|c| c.cpu_usage.as_ref()?.total_usage);
    let cpu_cores = match (stats.read.zip(total), before) {
        (Some((now, total)), Some((then, earlier))) => {
            let nanos = (now - then).num_nanoseconds().unwrap_or(0);
            #[expect(clippy::cast_precision_loss, reason = "a share of a core needs no more than 53 bits")]
            if nanos > 0 {
                total.saturating_sub(earlier) as f64 / nanos as f64
            } else {
                0.0
            }
        }
        _ => 0.0,
    };
    Some(Usage {
        cpu_cores,
        memory_bytes: used.saturating_sub(cache.copied().unwrap_or(0)),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stats(value: serde_json::Value) -> ContainerStatsResponse {
        serde_json::from_value(value).expect("an engine's answer")
    }

    #[test]
    fn memory_is_without_the_cache_that_can_be_reclaimed_on_either_kind_of_control_group() {
        for (name, other) in [("total_inactive_file", "inactive_file"), ("inactive_file", "anon")] {
            let stats = stats(json!({
                "read": "2026-01-02T03:04:05Z",
                "cpu_stats": {"cpu_usage": {"total_usage": 5}},
                "memory_stats": {"usage": 1000, "stats": {name: 300, other: 7}},
            }));
            assert_eq!(read(&stats, None).map(|u| u.memory_bytes), Some(700), "{name}");
        }
    }

    #[test]
    fn cpu_is_the_share_since_the_last_reading() {
        let stats = stats(json!({
            "read": "2026-01-02T03:04:07Z",
            "cpu_stats": {"cpu_usage": {"total_usage": 4_000_000_000_u64}},
            "memory_stats": {"usage": 1},
        }));
        let then = "2026-01-02T03:04:05Z".parse().expect("a time");
        let usage = read(&stats, Some((then, 1_000_000_000))).expect("it runs");
        assert!((usage.cpu_cores - 1.5).abs() < 1e-9, "{usage:?}");
        assert!(read(&stats, None).is_some_and(|u| u.cpu_cores == 0.0));
    }

    #[test]
    fn a_container_that_does_not_run_uses_nothing_that_could_be_told() {
        let stopped = stats(
            json!({"read": "0001-01-01T00:00:00Z", "cpu_stats": {"cpu_usage": {"total_usage": 0}}, "memory_stats": {}}),
        );
        assert_eq!(read(&stopped, None), None);
    }
}
