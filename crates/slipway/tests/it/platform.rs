//! One platform of its own for a test: its data directory, its database, its ports, its part of the address space.
//! Dropping it stops the processes and removes every container, network and volume it made.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use slipway_testkit::postgres::server_url;

/// Everything that must happen happens within this.
pub(crate) const SOON: Duration = Duration::from_secs(90);

/// The image of the test app in the test registry, at one of its tags.
pub(crate) fn app_image(tag: &str) -> String {
    format!("{}/slipway-test/app:{tag}", registry())
}

/// The test registry's host and port.
pub(crate) fn registry() -> String {
    std::env::var("SLIPWAY_TEST_REGISTRY").unwrap_or_else(|_| "127.0.0.1:5000".into())
}

/// Who may pull from it and push to it.
pub(crate) fn registry_login() -> (String, String) {
    let or = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.into());
    (
        or("SLIPWAY_TEST_REGISTRY_USER", "ci"),
        or("SLIPWAY_TEST_REGISTRY_PASSWORD", "registry-password"),
    )
}

/// A runtime for the whole test process.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        // Fails only when another provider is installed already, which is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("runtime")
    });
    runtime.block_on(future)
}

/// Tries until it is so, or fails saying what was awaited.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// An answer of the API or of an app.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("not JSON ({e}): {} {}", self.status, self.text))
    }

    /// The answer's JSON, which must come with this status.
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        if self.text.is_empty() { Value::Null } else { self.json() }
    }
}

/// How a platform is made.
#[derive(Default)]
pub(crate) struct Options {
    /// Run the private Postgres rather than the test server's.
    pub(crate) private_postgres: bool,
    /// Further environment variables.
    pub(crate) variables: Vec<(&'static str, String)>,
}

/// A platform under test.
pub(crate) struct Platform {
    place: Place,
    data: tempfile::TempDir,
    database: Option<String>,
    child: Option<Child>,
    variables: Vec<(String, String)>,
    pub(crate) api: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) proxy_admin: SocketAddr,
}

/// What only one platform at a time may have on this machine: a number, and by it a pool of networks and ports. Other
/// processes see that it is taken by a socket's name, which goes with the process.
struct Place {
    number: u16,
    _lease: UnixListener,
}

impl Place {
    const COUNT: u32 = 1024;

    fn take() -> Self {
        let first = std::process::id() % Self::COUNT;
        let numbers = (0..Self::COUNT).map(|n| (n + first) % Self::COUNT);
        let mut places = numbers.filter_map(|number| {
            let number = u16::try_from(number).ok()?;
            let name = UnixAddress::from_abstract_name(format!("slipway-test-place-{number}")).expect("a short name");
            let lease = UnixListener::bind_addr(&name).ok()?;
            let place = Self { number, _lease: lease };
            place
                .addresses()
                .iter()
                .all(|a| TcpListener::bind(a).is_ok())
                .then_some(place)
        });
        places.next().expect("a free place")
    }

    /// Its part of 10.128.0.0/10, 4,096 addresses large. No installation has its networks there.
    fn network_pool(&self) -> String {
        format!("10.{}.{}.0/20", 128 + self.number / 16, self.number % 16 * 16)
    }

    /// Below the ports that the kernel gives to whoever asks for any.
    fn addresses(&self) -> [SocketAddr; 5] {
        [0, 1, 2, 3, 4].map(|n| SocketAddr::from(([127, 0, 0, 1], 20_000 + self.number * 5 + n)))
    }
}

impl Platform {
    pub(crate) fn start() -> Self {
        Self::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Self {
        let mut platform = Self::prepare(options);
        platform.up();
        platform
    }

    /// Everything but the start.
    pub(crate) fn prepare(options: Options) -> Self {
        let data = tempfile::Builder::new()
            .prefix("slipway-")
            .tempdir()
            .expect("a data directory");
        // The private Postgres runs as another user, who must be able to reach its own directory below this one.
        set_mode(data.path(), 0o711);
        let place = Place::take();
        let [api, https, http, admin, proxy_admin] = place.addresses();
        let database = (!options.private_postgres).then(create_database);
        let mut variables: Vec<(String, String)> = [
            ("SLIPWAY_DATA_DIR", data.path().display().to_string()),
            ("SLIPWAY_API_LISTEN", api.to_string()),
            ("SLIPWAY_HTTPS_LISTEN", https.to_string()),
            ("SLIPWAY_HTTP_LISTEN", http.to_string()),
            ("SLIPWAY_ADMIN_LISTEN", admin.to_string()),
            ("SLIPWAY_PROXY_ADMIN_LISTEN", proxy_admin.to_string()),
            ("SLIPWAY_NETWORK_POOL", place.network_pool()),
            ("SLIPWAY_DISK_FREE_MIN", "1%".into()),
            ("SLIPWAY_LOG_FORMAT", "json".into()),
        ]
        .map(|(k, v)| (k.to_owned(), v))
        .into();
        variables.extend(
            database
                .iter()
                .map(|d| ("SLIPWAY_DATABASE_URL".into(), database_url(d))),
        );
        variables.extend(options.variables.into_iter().map(|(k, v)| (k.to_owned(), v)));
        Self {
            place,
            data,
            database,
            child: None,
            variables,
            api,
            https,
            http,
            admin,
            proxy_admin,
        }
    }

    /// Its settings, as variables.
    pub(crate) fn variables(&self) -> &[(String, String)] {
        &self.variables
    }

    /// Changes a setting before the start.
    pub(crate) fn set(&mut self, name: &str, value: String) {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value));
    }

    /// Whether API and proxy say that they are ready.
    pub(crate) fn is_ready(&self) -> bool {
        is_ready(self.api) && is_ready(self.proxy_admin)
    }

    /// The command line of the product, with this platform's settings.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_slipway"));
        command
            .args(arguments)
            .env_clear()
            .envs(self.variables.iter().map(|(k, v)| (k, v)));
        command
            .env("PATH", std::env::var("PATH").unwrap_or_default())
            .env("HOME", self.data.path());
        command.env("SLIPWAY_URL", format!("http://{}", self.api));
        command.stdin(Stdio::null());
        command
    }

    /// Runs a client command and gives (exit code, standard output, standard error).
    pub(crate) fn cli(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = self
            .command(arguments)
            .env("SLIPWAY_TOKEN", self.token())
            .output()
            .expect("the binary runs");
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        (
            output.status.code().unwrap_or(-1),
            text(&output.stdout),
            text(&output.stderr),
        )
    }

    /// The same, with something on its standard input.
    pub(crate) fn cli_with(&self, arguments: &[&str], input: &str) -> (i32, String, String) {
        use std::io::Write as _;
        let mut child = self
            .command(arguments)
            .env("SLIPWAY_TOKEN", self.token())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut pipe = child.stdin.take().expect("piped");
        pipe.write_all(input.as_bytes()).expect("written");
        drop(pipe);
        let output = child.wait_with_output().expect("it ends");
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        (
            output.status.code().unwrap_or(-1),
            text(&output.stdout),
            text(&output.stderr),
        )
    }

    /// Starts the platform and waits until it is ready.
    pub(crate) fn up(&mut self) {
        self.begin();
        self.ready();
    }

    /// Starts the platform.
    pub(crate) fn begin(&mut self) {
        let log = std::fs::File::create(self.data.path().join("up.log")).expect("a log file");
        self.begin_into(log.into());
    }

    /// Starts the platform with its output going there.
    pub(crate) fn begin_into(&mut self, output: OwnedFd) {
        let mut command = self.command(&["up"]);
        command
            .stdout(output.try_clone().expect("a second handle"))
            .stderr(output);
        self.child = Some(command.spawn().expect("the binary runs"));
    }

    /// Waits until API and proxy say that they are ready.
    pub(crate) fn ready(&mut self) {
        let deadline = Instant::now() + SOON;
        while !self.is_ready() {
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait().expect("a child of ours")
            {
                panic!("`slipway up` ended with {status}:\n{}", self.log());
            }
            assert!(Instant::now() < deadline, "not ready:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Asks the platform to stop and waits for it.
    pub(crate) fn down(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(child.id(), "TERM");
            let deadline = Instant::now() + SOON;
            while child.try_wait().expect("a child of ours").is_none() {
                if Instant::now() > deadline {
                    let _ = child.kill();
                    panic!("`slipway up` did not stop:\n{}", self.log());
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// Waits for the end of a platform that something else has stopped.
    pub(crate) fn ended(&mut self) {
        let mut child = self.child.take().expect("running");
        until("`slipway up` ends", || child.try_wait().expect("a child of ours"));
    }

    /// Changes or reads the platform's database behind its back; a line for each row.
    pub(crate) fn sql(&self, statement: &str) -> String {
        let database = self.database.as_ref().expect("not the private Postgres");
        psql_in(&database_url(database), statement)
    }

    /// Copies the database, or puts the copy in its place, while the control plane is away and the proxy is not.
    pub(crate) fn copy_database(&self) {
        self.without_control_plane(|database| {
            psql(&format!("drop database if exists {database}_copy with (force)"));
            psql(&format!("create database {database}_copy template {database}"));
        });
    }

    /// Puts the copy of the database in its place.
    pub(crate) fn put_database_back(&self) {
        self.without_control_plane(|database| {
            psql(&format!("drop database {database} with (force)"));
            psql(&format!("alter database {database}_copy rename to {database}"));
        });
    }

    fn without_control_plane(&self, during: impl FnOnce(&str)) {
        let database = self.database.as_ref().expect("not the private Postgres");
        let serve = self.child_pid("serve").expect("the control plane");
        signal(self.pid(), "STOP");
        signal(serve, "KILL");
        until("its connections have ended", || {
            let open = format!("select count(*) from pg_stat_activity where datname = '{database}'");
            (psql_in(&server_url(), &open).trim() == "0").then_some(())
        });
        during(database);
        signal(self.pid(), "CONT");
        until("another one runs", || {
            self.child_pid("serve").filter(|pid| *pid != serve)
        });
    }

    /// The supervisor's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("running").id()
    }

    /// The process id of the supervisor's child that runs this subcommand.
    pub(crate) fn child_pid(&self, subcommand: &str) -> Option<u32> {
        children(self.pid()).into_iter().find(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|b| *b == 0).any(|word| word == subcommand.as_bytes())
        })
    }

    /// What the platform wrote.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.data.path().join("up.log")).unwrap_or_default()
    }

    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }

    pub(crate) fn token(&self) -> String {
        let text = std::fs::read_to_string(self.data.path().join("admin.token")).expect("the admin token's file");
        text.trim().to_owned()
    }

    /// Calls the API as the administrator.
    pub(crate) fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.call_as(&self.token(), method, path, body, &[])
    }

    /// Calls the API with a token and further headers.
    pub(crate) fn call_as(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let url = format!("http://{}{path}", self.api);
        let method = method.parse().expect("a method");
        wait(async {
            let client = reqwest::Client::builder()
                .timeout(Duration::from_mins(3))
                .build()
                .expect("a client");
            let mut request = client.request(method, url).bearer_auth(token);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            if let Some(body) = body {
                request = request.json(body);
            }
            answer(request.send().await.expect("the API answers")).await
        })
    }

    /// Calls the API as the administrator, without a body; it may be away.
    pub(crate) fn try_call(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> reqwest::Result<Answer> {
        let url = format!("http://{}{path}", self.api);
        let method = method.parse().expect("a method");
        wait(async {
            let client = reqwest::Client::builder().timeout(Duration::from_mins(3)).build()?;
            let request = client.request(method, url).bearer_auth(self.token());
            let request = headers.iter().fold(request, |r, (name, value)| r.header(*name, *value));
            Ok(answer(request.send().await?).await)
        })
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        self.call("GET", path, None).expect(200)
    }

    /// The control plane's metrics.
    pub(crate) fn metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.admin);
        wait(async {
            let sent = reqwest::Client::new().get(url).send().await.expect("metrics");
            sent.text().await.expect("a text")
        })
    }

    /// A client that trusts this platform's CA and finds `host` at the proxy.
    pub(crate) fn browser(&self, host: &str) -> reqwest::ClientBuilder {
        let root = std::fs::read(self.data.path().join("ca/root.pem")).expect("the CA's root");
        reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(&root).expect("a certificate")])
            .resolve(host, self.https)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(30))
    }

    /// The URL of a path on a host of this platform.
    pub(crate) fn url(&self, host: &str, path: &str) -> String {
        format!("https://{host}:{}{path}", self.https.port())
    }

    /// GETs a path over HTTPS as a visitor.
    pub(crate) fn visit(&self, host: &str, path: &str) -> Answer {
        wait(async {
            let client = self.browser(host).build().expect("a client");
            answer(
                client
                    .get(self.url(host, path))
                    .send()
                    .await
                    .expect("the proxy answers"),
            )
            .await
        })
    }

    /// Files the test registry's credentials.
    pub(crate) fn log_in_to_registry(&self) {
        let (username, password) = registry_login();
        let body = serde_json::json!({"username": username, "password": password});
        let path = format!("/v1/registries/{}", registry());
        let status = self.call("PUT", &path, Some(&body)).status;
        assert!((200..300).contains(&status), "{status}");
    }

    /// Makes an app whose production spec is given; nothing is deployed.
    pub(crate) fn app(&self, name: &str, spec: &Value) {
        self.call("POST", "/v1/apps", Some(&serde_json::json!({"name": name})))
            .expect(201);
        let answer = self.call("PUT", &format!("/v1/apps/{name}/spec"), Some(spec));
        assert!((200..300).contains(&answer.status), "{} {}", answer.status, answer.text);
    }

    /// Deploys a tag of the test app and waits for the end.
    pub(crate) fn deploy(&self, app: &str, tag: &str) -> Answer {
        let path = format!("/v1/deploy?image={}&app={app}&wait=90s", app_image(tag));
        self.call("POST", &path, None)
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the platform's log ---\n{}", self.log());
        }
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself, and what is left is removed all the same.
            if matches!(child.try_wait(), Ok(None)) {
                signal(child.id(), "TERM");
            }
            let deadline = Instant::now() + Duration::from_secs(40);
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        self.remove_what_is_left();
        if let Some(database) = &self.database {
            drop_database(database);
        }
    }
}

impl Platform {
    /// The networks in this platform's own pool, and the containers and volumes of the environments and databases that they
    /// are of.
    fn remove_what_is_left(&self) {
        let pool: ipnet::Ipv4Net = self.place.network_pool().parse().expect("a network");
        let networks = docker_lossy(&["network", "ls", "--filter", "driver=bridge", "--format", "{{.ID}}"]);
        for network in networks.lines() {
            let inspect = "{{(index .IPAM.Config 0).Subnet}} {{index .Labels \"slipway.environment-id\"}}{{index .Labels \"slipway.database-id\"}}";
            let text = docker_lossy(&["network", "inspect", "--format", inspect, network]);
            let Some((subnet, owner)) = text.trim().split_once(' ') else {
                continue;
            };
            if !subnet.parse().is_ok_and(|s: ipnet::Ipv4Net| pool.contains(&s)) {
                continue;
            }
            let label = if owner.starts_with("dbs_") {
                "database-id"
            } else {
                "environment-id"
            };
            let filter = format!("label=slipway.{label}={owner}");
            for id in docker_lossy(&["ps", "--all", "--quiet", "--filter", &filter]).lines() {
                docker_lossy(&["rm", "--force", "--volumes", id]);
            }
            for volume in docker_lossy(&["volume", "ls", "--quiet", "--filter", &filter]).lines() {
                docker_lossy(&["volume", "rm", "--force", volume]);
            }
            docker_lossy(&["network", "rm", network]);
        }
    }
}

/// Runs the engine's own client, which must succeed.
pub(crate) fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker")
        .args(arguments)
        .output()
        .expect("the docker client runs");
    assert!(
        output.status.success(),
        "docker {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn docker_lossy(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output();
    output
        .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
        .unwrap_or_default()
}

/// Sends a signal by name.
pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .status()
        .expect("kill runs");
    assert!(status.success(), "kill -s {name} {pid}");
}

/// The processes that a process has started.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|p| p.parse().ok()).collect()
}

fn is_ready(address: SocketAddr) -> bool {
    wait(async {
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(2))
            .build()
            .expect("a client");
        let answer = client.get(format!("http://{address}/readyz")).send().await;
        answer.is_ok_and(|a| a.status().is_success())
    })
}

pub(crate) async fn answer(response: reqwest::Response) -> Answer {
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    Answer {
        status,
        headers,
        text: response.text().await.expect("a body"),
    }
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("our own directory");
}

fn database_url(name: &str) -> String {
    let server = server_url();
    let (base, _) = server.rsplit_once('/').expect("a URL with a database");
    format!("{base}/{name}")
}

/// Asks the test server itself.
pub(crate) fn psql(statement: &str) {
    psql_in(&server_url(), statement);
}

fn psql_in(url: &str, statement: &str) -> String {
    let output = Command::new("psql")
        .args([url, "--quiet", "--tuples-only", "--no-align"])
        .args(["--set", "ON_ERROR_STOP=1", "--command", statement])
        .output();
    let output = output.expect("psql runs");
    assert!(
        output.status.success(),
        "{statement}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

fn create_database() -> String {
    static COUNTER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let n = COUNTER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let name = format!("slipway_it_{}_{n}", std::process::id());
    psql(&format!("drop database if exists {name} with (force)"));
    psql(&format!("create database {name}"));
    name
}

fn drop_database(name: &str) {
    psql(&format!("drop database if exists {name} with (force)"));
}

/// What an app answers, if it is the app that answers.
pub(crate) fn serves(platform: &Platform, app: &str) -> Option<Value> {
    let answer = platform.visit(&format!("{app}.apps.localhost"), "/echo");
    (answer.status == 200).then(|| answer.json())
}

/// Asks again and again until told to stop: how many answers were none of the app's.
pub(crate) fn visitors<T>(platform: &Platform, app: &str, during: impl FnOnce() -> T) -> (T, u32) {
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let (mut lost, mut asked) = (0, 0);
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                asked += 1;
                lost += u32::from(serves(platform, app).is_none());
            }
            assert!(asked > 0, "nobody asked");
            lost
        });
        let result = during();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        (result, asking.join().expect("no panic"))
    })
}

/// Containers of an app, running or not, as `docker ps` tells them: (id, state).
pub(crate) fn containers(app: &str) -> Vec<(String, String)> {
    let filter = format!("label=slipway.app={app}");
    let text = docker(&[
        "ps",
        "--all",
        "--no-trunc",
        "--filter",
        &filter,
        "--format",
        "{{.ID}} {{.State}}",
    ]);
    text.lines()
        .filter_map(|l| l.split_once(' '))
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .collect()
}
