//! Starting in the background, stopping, and what people see of it.

use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::{in_force, lock, log};
use crate::config::Config;
use crate::error::ServerError;

/// How long the platform may take to get ready.
const READY_MAX: Duration = Duration::from_mins(2);
/// How long it may take to stop: the proxy drains, Postgres writes.
const DOWN_MAX: Duration = Duration::from_mins(2);
const PAUSE: Duration = Duration::from_millis(50);
/// How long the last words of one that ended are waited for.
const WORDS_MAX: Duration = Duration::from_secs(1);
/// How long the next try of one that refuses to start is waited for: what it said at the last one may be mended.
const NEXT_TRY_MAX: Duration = Duration::from_secs(15);
/// How long an answer about readiness may take.
const READYZ_MAX: Duration = Duration::from_secs(2);
/// The control plane looks at each of its parts for so long.
const PARTS_MAX: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// How much of the log is shown when the start fails.
const TAIL_LINES_MAX: usize = 20;
/// Tells the process in the background that it is there: it leaves the terminal and writes its log to files.
pub const DETACHED_FLAG: &str = "--in-background";

/// Starts `slipway up` in the background and waits until it is ready.
pub async fn detach(config: &Config, program: &Path, arguments: &[String]) -> Result<(), ServerError> {
    let begun = std::fs::metadata(log_path(&config.data_dir)).map_or(0, |m| m.len());
    if let Some(pid) = lock::holder(&config.data_dir) {
        tracing::debug!(pid, "up.runs_already");
        let others = in_force::compare(config);
        if !others.is_empty() {
            return Err(ServerError::Setup(format!(
                "the platform runs already (pid {pid}), with other settings: {}. `slipway down`, then `slipway up --detach` takes them into use; the apps run on meanwhile",
                others.join("; ")
            )));
        }
        return wait_ready(config, None, begun).await;
    }
    // Somebody else's answers there would pass for this platform's.
    super::bind(config.api_listen, "SLIPWAY_API_LISTEN")?;
    super::bind(config.proxy_admin_listen, "SLIPWAY_PROXY_ADMIN_LISTEN")?;
    // What cannot begin leaves nothing behind.
    super::bind(config.admin_listen, "SLIPWAY_ADMIN_LISTEN")?;
    super::bind(config.http_listen, "SLIPWAY_HTTP_LISTEN")?;
    super::bind(config.https_listen, "SLIPWAY_HTTPS_LISTEN")?;
    crate::files::private_directory(&config.data_dir, "SLIPWAY_DATA_DIR")?;
    let log = open_log(&config.data_dir)?;
    let fail = || ServerError::io("the platform cannot be started in the background");
    let mut command = Command::new(program);
    command
        .arg("up")
        .args(arguments)
        .arg(DETACHED_FLAG)
        .stdin(Stdio::null());
    // What it says before its log is open, and its last words if it panics.
    command.stdout(log.try_clone().map_err(fail())?).stderr(log);
    let child = command.spawn().map_err(fail())?;
    wait_ready(config, Some(child), begun).await
}

/// Where the platform in the background writes its log.
pub(crate) fn log_path(data_dir: &Path) -> PathBuf {
    data_dir.join("log/slipway.log")
}

fn open_log(data_dir: &Path) -> Result<File, ServerError> {
    crate::files::private_directory(&data_dir.join("log"), "SLIPWAY_DATA_DIR")?;
    let path = log_path(data_dir);
    let opened = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
    opened.map_err(ServerError::io(format!("{} cannot be opened", path.display())))
}

/// Waits until API and proxy say that they are ready; `false` when told to stop before.
pub async fn ready(config: &Config, stop: &CancellationToken) -> bool {
    while !(is_ready(config.api_listen).await && is_ready(config.proxy_admin_listen).await) {
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = stop.cancelled() => return false,
        }
    }
    true
}

/// What of the platform that runs is not ready, if something is not.
pub(crate) async fn unready(config: &Config) -> Option<String> {
    if let Some(child) = lock::refusing(&config.data_dir) {
        let tail = log::tail(&log_path(&config.data_dir), 0, TAIL_LINES_MAX);
        let reason = last_words(&tail).map_or(String::new(), |reason| format!(": {reason}"));
        return Some(format!("{child} cannot start{reason}"));
    }
    let (api, proxy) = tokio::join!(is_ready(config.api_listen), is_ready(config.proxy_admin_listen));
    let away = parts_away(config).await;
    let away = away.map(|said| format!(": {said}"));
    match (api, proxy) {
        (true, true) => away.map(|said| format!("the control plane is not ready{said}")),
        (false, true) => Some(format!("the control plane is not ready{}", away.unwrap_or_default())),
        (true, false) => Some("the proxy is not ready".into()),
        (false, false) => Some("neither the control plane nor the proxy is ready".into()),
    }
}

/// What of the control plane's parts is away, as it says itself.
async fn parts_away(config: &Config) -> Option<String> {
    let (_, body) = get(config.admin_listen, "/readyz", PARTS_MAX).await?;
    let told: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
    if told["ready"] == true {
        return None;
    }
    let of = |part: &str| told[part].as_str().map(str::to_owned);
    of("database").filter(|said| said != "ok").or_else(|| of("engine"))
}

/// The last thing that a program of ours said before it ended, in its own words.
fn last_words(log: &str) -> Option<&str> {
    log.lines().rev().find_map(|line| line.strip_prefix("slipway: "))
}

/// Waits until it is ready; when it will not be, shows what the log says from the byte `begun` on.
async fn wait_ready(config: &Config, mut child: Option<std::process::Child>, begun: u64) -> Result<(), ServerError> {
    let deadline = tokio::time::Instant::now() + READY_MAX;
    let mut over = None;
    loop {
        if is_ready(config.api_listen).await && is_ready(config.proxy_admin_listen).await {
            return Ok(());
        }
        let ended = child.as_mut().and_then(|c| c.try_wait().ok().flatten());
        let what = if ended.is_some() {
            Some("the platform ended".to_owned())
        } else if let Some(child) = lock::refusing(&config.data_dir) {
            Some(format!(
                "{child} cannot start and is tried again and again; the rest runs on (`slipway down` stops it)"
            ))
        } else {
            let late = tokio::time::Instant::now() > deadline;
            late.then(|| "the platform is not ready after two minutes".to_owned())
        };
        if let Some(what) = what {
            let log = log_path(&config.data_dir);
            let tail = log::tail(&log, begun, TAIL_LINES_MAX);
            let since = *over.get_or_insert_with(tokio::time::Instant::now);
            // What it wrote last may still be on its way into the log.
            let words_max = if child.is_some() { WORDS_MAX } else { NEXT_TRY_MAX };
            let said = match last_words(&tail) {
                None if since.elapsed() < words_max => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                Some(reason) => format!("{what}: {reason}\nIts log is {}.", log.display()),
                None => format!("{what}; the end of {}:\n{tail}", log.display()),
            };
            return Err(ServerError::Setup(said));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether `GET /readyz` there is answered with 200.
async fn is_ready(address: SocketAddr) -> bool {
    let answer = get(address, "/readyz", READYZ_MAX).await;
    answer.is_some_and(|(head, _)| head.starts_with("HTTP/1.1 200"))
}

/// Head and body of a small answer, if it comes in time.
async fn get(address: SocketAddr, path: &str, within: Duration) -> Option<(String, String)> {
    let asked = async {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(within, asked).await.ok()?.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.to_owned(), body.to_owned()))
}

/// What was there to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// The platform.
    Platform,
    /// A Postgres that a platform which was killed had left.
    Leftover,
    /// Nothing.
    Nothing,
}

/// Stops the platform; the apps run on. Says what there was.
pub async fn down(data_dir: &Path) -> Result<Stopped, ServerError> {
    let Some(pid) = lock::holder(data_dir) else {
        let left = crate::postgres::stop_leftover(data_dir).map_err(|e| ServerError::Setup(e.to_string()))?;
        return Ok(if left { Stopped::Leftover } else { Stopped::Nothing });
    };
    let process = Pid::from_raw(pid).ok_or_else(|| ServerError::Setup("the pid file is damaged".into()))?;
    kill_process(process, Signal::TERM).map_err(|error| {
        ServerError::Setup(format!(
            "the platform with pid {pid} cannot be asked to stop ({error}): is it another user's?"
        ))
    })?;
    let deadline = tokio::time::Instant::now() + DOWN_MAX;
    while lock::holder(data_dir).is_some() {
        if tokio::time::Instant::now() > deadline {
            return Err(ServerError::Setup(format!(
                "the platform with pid {pid} does not stop: look at its log"
            )));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(Stopped::Platform)
}

/// What people see when the platform runs.
pub fn screen(config: &Config) -> String {
    let api = config.api_listen;
    let token = config.data_dir.join("admin.token").display().to_string();
    let domain = config.api_domain.as_ref();
    let port = match config.https_port() {
        443 => String::new(),
        port => format!(":{port}"),
    };
    let outside = domain.map_or(String::new(), |host| {
        format!("               https://{host}{port}   (from elsewhere: `slipway login https://{host}{port}`)\n")
    });
    let notes: Vec<String> = config.notes().iter().map(|note| format!("Note: {note}\n\n")).collect();
    let notes = notes.concat();
    format!(
        "Slipway runs.\n\n  API          http://{api}   (reference: http://{api}/docs)\n{outside}  Admin token  {token}\n  Apps         https://<app>.{base}{port}\n  CA root      {ca}\n\n{notes}Deploy an image:\n\n  slipway deploy registry.example.com/team/web:1\n  curl -X POST -H \"Authorization: Bearer $(cat {token})\" \\\n    \"http://{api}/v1/deploy?image=registry.example.com/team/web:1&wait=120s\"\n\nStop the platform with `slipway down`; the apps run on.\n",
        base = config.base_domain,
        ca = config.data_dir.join("ca/root.pem").display(),
    )
}
