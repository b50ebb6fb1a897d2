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
            let usage = read(&stats, readings.get(&id).copied());
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
/// `total_inactive_file`, v2 `inactive_file`.
fn read(stats: &ContainerStatsResponse, before: Option<(Timestamp, u64)>) -> Usage {
    let memory = stats.memory_stats.as_ref();
    let cache = memory
        .and_then(|m| m.stats.as_ref())
        .and_then(|s| s.get("total_inactive_file").or(s.get("inactive_file")));
    let used = memory.and_then(|m| m.usage).unwrap_or(0);
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
    Usage {
        cpu_cores,
        memory_bytes: used.saturating_sub(cache.copied().unwrap_or(0)),
    }
}
