"""The measuring part of bench.sh: prints one table row per number."""

import datetime, glob, json, os, socket, ssl, statistics, subprocess, time, urllib.error, urllib.request

slipway, data, api = os.environ["SLIPWAY"], os.environ["SLIPWAY_DATA_DIR"], "http://" + os.environ["SLIPWAY_API_LISTEN"]
BODY = {"image": "slipway-bench/app:1", "pull": "local"}
SPEC = {"health": {"path": "/healthz"}, "resources": {"memory": "32MiB", "cpu": "0.5"}, "deploy": {"drain_timeout": "1s", "kill_timeout": "1s"}}
LIMITS = ["--memory", "32m", "--memory-swap", "32m", "--cpus", "0.5", "--pids-limit", "256", "--read-only", "--cap-drop", "ALL",
          "--user", "65532:65532", "--security-opt", "no-new-privileges:true", "--init", "--tmpfs", "/tmp"]


def row(what, value, target):
    print(f"| {what} | {value} | {target} |", flush=True)


def call(method, path, body=None):
    request = urllib.request.Request(api + path, method=method, data=None if body is None else json.dumps(body).encode())
    request.add_header("authorization", "Bearer " + open(data + "/admin.token").read().strip())
    request.add_header("content-type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=660) as answer:
            return json.loads(answer.read() or "null")
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{method} {path}: {error.code} {error.read().decode()}")


def run(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def timed(work):
    begun = time.monotonic()
    work()
    return (time.monotonic() - begun) * 1000


def up():
    run(slipway, "up", "--detach")


def down():
    run(slipway, "down")


def processes():
    """Supervisor, control plane and proxy: pid and command."""
    parent = int(open(data + "/slipway.pid").read())
    children = open(f"/proc/{parent}/task/{parent}/children").read().split()
    for pid in [parent, *children]:
        words = open(f"/proc/{pid}/cmdline").read().split("\0")
        if "slipway" in words[0]:
            yield pid, words[1]


def pss_kib():
    """Proportional set size of each."""
    total = {}
    for pid, name in processes():
        for line in open(f"/proc/{pid}/smaps_rollup"):
            if line.startswith("Pss:"):
                total[name] = total.get(name, 0) + int(line.split()[1])
    return total


def deploy_latency():
    call("POST", "/v1/apps", {"name": "bench"})
    call("PUT", "/v1/apps/bench/spec", SPEC)
    call("POST", "/v1/apps/bench/deployments?wait=60s", BODY)
    beyond, ours, theirs = [], [], []
    for _ in range(20):
        time.sleep(3)
        slip = timed(lambda: call("POST", "/v1/apps/bench/deployments?wait=60s", BODY))
        time.sleep(1)
        ids = []
        plain = timed(lambda: ids.append(run("docker", "run", "-d", *LIMITS, "slipway-bench/app:1").strip()))
        run("docker", "rm", "-f", ids[0])
        ours.append(slip), theirs.append(plain), beyond.append(slip - plain)
    row("POST to succeeded, minus `docker run -d`, 20 rounds",
        f"median {statistics.median(beyond):.0f} ms, worst {max(beyond):.0f} ms (medians {statistics.median(ours):.0f} and {statistics.median(theirs):.0f}, ratio {statistics.median(ours) / statistics.median(theirs):.2f})",
        "≤ 250 ms median, ≤ 600 ms worst")


def rollback_afresh():
    """Back to a release of which nothing runs any more, from an image that is on the machine."""
    call("POST", "/v1/apps", {"name": "back"})
    call("PUT", "/v1/apps/back/spec", SPEC)
    for n in range(2):
        call("PATCH", "/v1/apps/back/env?apply=false", {"env": {"ROUND": str(n)}})
        call("POST", "/v1/apps/back/deployments?wait=60s", BODY)
    beyond = []
    for n in range(10):
        until("the old instance is gone", lambda: len(containers("back")) == 1)
        time.sleep(1)
        release = 1 if n % 2 == 0 else 2
        took = timed(lambda: call("POST", "/v1/apps/back/rollback?wait=60s", {"release": release}))
        ids = []
        plain = timed(lambda: ids.append(run("docker", "run", "-d", *LIMITS, "slipway-bench/app:1").strip()))
        run("docker", "rm", "-f", ids[0])
        beyond.append(took - plain)
    row("rollback to a release that nothing runs of, minus `docker run -d`, 10 times",
        f"median {statistics.median(beyond):.0f} ms, worst {max(beyond):.0f} ms", "≤ 300 ms")


def switch_and_rollback():
    call("POST", "/v1/apps", {"name": "blue"})
    call("PUT", "/v1/apps/blue/spec", SPEC | {"deploy": SPEC["deploy"] | {"strategy": "bluegreen", "bake_time": "10m"}})
    call("POST", "/v1/apps/blue/deployments?wait=60s", BODY)
    switches, backs = [], []
    for n in range(20):
        # Otherwise it would be the same once more, which is nothing to go back from.
        call("PATCH", "/v1/apps/blue/env?apply=false", {"env": {"ROUND": str(n)}})
        deployment = call("POST", "/v1/apps/blue/deployments?wait=60s", BODY)
        step = next(step for step in deployment["steps"] if step["name"] == "switch")
        begun, ended = (datetime.datetime.fromisoformat(step[key].replace("Z", "+00:00")) for key in ("started_at", "finished_at"))
        switches.append((ended - begun).total_seconds() * 1000)
        backs.append(timed(lambda: call("POST", "/v1/apps/blue/rollback?wait=60s")))
    row("switch: the new group is healthy, until all traffic is on it, 20 deploys",
        f"median {statistics.median(switches):.0f} ms, worst {max(switches):.0f} ms", "p99 ≤ 50 ms")
    row("rollback while the old group bakes, the whole call, 20 times", f"median {statistics.median(backs):.0f} ms, worst {max(backs):.0f} ms", "≤ 200 ms")


def visit(host, path="/healthz"):
    """The status and the time of a request, on a connection that is there already."""
    context = ssl.create_default_context(cafile=data + "/ca/root.pem")
    port = int(os.environ["SLIPWAY_HTTPS_LISTEN"].rsplit(":", 1)[1])
    with context.wrap_socket(socket.create_connection(("127.0.0.1", port), 60), server_hostname=host) as stream:
        begun = time.monotonic()
        stream.sendall(f"GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
        status = int(stream.recv(4096).split()[1])
        return status, (time.monotonic() - begun) * 1000


def containers(app, *filters):
    wanted = [word for one in (f"label=slipway.app={app}", *filters) for word in ("--filter", one)]
    return run("docker", "ps", "--all", "--quiet", "--no-trunc", *wanted).split()


def until(what, look, limit_s=60):
    deadline = time.monotonic() + limit_s
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {limit_s} s: {what}"
        time.sleep(0.01)
    return found


def waking():
    for app, pause, state in [("nap", "0s", "exited"), ("ice", "1h", "paused")]:
        call("POST", "/v1/apps", {"name": app})
        scale = {"min": 0, "idle_timeout": "1s", "pause_for": pause}
        call("PUT", f"/v1/apps/{app}/spec", SPEC | {"scale": scale, "deploy": SPEC["deploy"] | {"bake_time": "0s"}})
        call("POST", f"/v1/apps/{app}/deployments?wait=60s", BODY)
        first, plain = [], []
        for _ in range(20):
            id = until(f"{app} rests", lambda: containers(app, f"status={state}"))[0]
            time.sleep(0.5)
            status, took = visit(f"{app}.apps.localhost")
            assert status == 200, status
            first.append(took)
            if state == "exited":
                other = run("docker", "create", "--init", "--memory", "32m", "--network", "none", "slipway-bench/app:1").strip()
                plain.append(timed(lambda: run("docker", "start", other)))
                run("docker", "rm", "--force", other)
        if state == "exited":
            beyond = [ours - theirs for ours, theirs in zip(first, plain)]
            row("first request to a sleeping app, minus `docker start`, 20 times",
                f"median {statistics.median(beyond):.0f} ms, worst {max(beyond):.0f} ms (medians {statistics.median(first):.0f} and {statistics.median(plain):.0f})", "≤ 150 ms")
        else:
            row("first request to a paused app, 20 times", f"median {statistics.median(first):.0f} ms, worst {max(first):.0f} ms", "≤ 30 ms")
        call("POST", f"/v1/apps/{app}/stop?wait=60s")


def replacing():
    """Ten apps, one kill each: the second in a row would wait for its back-off."""
    took = []
    for n in range(10):
        call("POST", "/v1/apps", {"name": f"kill-{n}"})
        call("PUT", f"/v1/apps/kill-{n}/spec", SPEC)
        call("POST", f"/v1/apps/kill-{n}/deployments?wait=60s", BODY)
        id = until("it runs", lambda: containers(f"kill-{n}", "status=running"))[0]
        time.sleep(1)
        run("docker", "kill", id)
        answers = lambda: visit(f"kill-{n}.apps.localhost")[0] == 200
        took.append(timed(lambda: until("the next one answers", answers)))
        call("POST", f"/v1/apps/kill-{n}/stop?wait=60s")
    row("a killed instance: until the next one answers, 10 times", f"median {statistics.median(took):.0f} ms, worst {max(took):.0f} ms", "≤ 1 s")


def degrading():
    """An app that hangs, with the default interval (1 s) and time-out (5 s) of its probes: until the API says so; and its way back."""
    call("POST", "/v1/apps", {"name": "hang"})
    call("PUT", "/v1/apps/hang/spec", SPEC)
    call("POST", "/v1/apps/hang/deployments?wait=60s", BODY)
    id = until("it runs", lambda: containers("hang", "status=running"))[0]
    processes = run("docker", "top", id, "-eo", "pid").split()[1:]
    state = lambda: call("GET", "/v1/apps/hang")["environments"][0]["state"]
    told, well = [], []
    for _ in range(5):
        run("kill", "-STOP", *processes)
        told.append(timed(lambda: until("the API says so", lambda: state() == "degraded")))
        run("kill", "-CONT", *processes)
        well.append(timed(lambda: until("it is well", lambda: state() == "running")))
    call("POST", "/v1/apps/hang/stop?wait=60s")
    row("an app hangs: until the API says `degraded`, 5 times",
        f"median {statistics.median(told) / 1000:.1f} s, worst {max(told) / 1000:.1f} s; that it is well again, worst {max(well) / 1000:.1f} s", "")


def five_hundred():
    """Sixteen apps of 32 instances."""
    for n in range(16):
        call("POST", "/v1/apps", {"name": f"wide-{n}"})
        call("PUT", f"/v1/apps/wide-{n}/spec", SPEC | {"scale": {"min": 32}, "deploy": SPEC["deploy"] | {"max_surge": 8}})
        call("POST", f"/v1/apps/wide-{n}/deployments?wait=10m", BODY)
    time.sleep(150)  # the bake time of the last one, with its frequent probes, is over
    count, before, begun = len(run("docker", "ps", "--quiet").split()), serve_cpu_s(), time.monotonic()
    time.sleep(60)
    busy = (serve_cpu_s() - before) / (time.monotonic() - begun)
    row(f"control plane at {count} running instances, 60 s idle", f"{busy * 100:.2f} % of a core", "≤ 2 %")


def serve_cpu_s():
    """Processor time of the control plane so far."""
    for pid, name in processes():
        if name == "serve":
            fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def fifty_apps():
    for n in range(50):
        call("POST", "/v1/apps", {"name": f"app-{n}"})
        call("PUT", f"/v1/apps/app-{n}/spec", SPEC)
        call("POST", f"/v1/apps/app-{n}/deployments?wait=60s", BODY)
    idle, before = int(os.environ["IDLE"]), serve_cpu_s()
    time.sleep(idle)
    busy = (serve_cpu_s() - before) / idle
    row(f"control plane at 50 running instances, {idle} s idle", f"{busy * 100:.2f} % of a core", "≤ 2 % at 500")
    parts = pss_kib()
    named = ", ".join(f"{name} {kib / 1024:.1f}" for name, kib in sorted(parts.items()))
    row(f"PSS with 50 apps after {os.environ['IDLE']} s idle", f"{sum(parts.values()) / 1024:.1f} MiB ({named})", "≤ 60 MiB")


SEED = """
insert into apps (id, team_id, name, created_at, created_by)
  select gen_random_uuid(), t.id, 'seed-' || n, now(), 'bench' from teams t, generate_series(1, 1000) n where t.name = 'default';
insert into environments (id, team_id, app_id, name, created_at, created_by, spec, last_release_number)
  select gen_random_uuid(), team_id, id, 'production', now(), 'bench', '{}', 100 from apps where name like 'seed-%';
insert into environment_status (environment_id) select id from environments where created_by = 'bench';
insert into releases (id, team_id, environment_id, number, image, pin, spec, secrets, cause, created_at, created_by, good)
  select gen_random_uuid(), team_id, id, 1, 'x', ('{"from":"local","id":"sha256:' || repeat('a', 64) || '"}')::jsonb, '{}', '{}', 'deploy', now(), 'bench', true
  from environments where created_by = 'bench';
insert into deployments (id, team_id, app_id, environment_id, release_id, generation, state, strategy, cause, created_at, created_by, finished_at)
  select gen_random_uuid(), e.team_id, e.app_id, e.id, r.id, 1, 'succeeded', 'rolling', 'deploy', now(), 'bench', now()
  from environments e join releases r on r.environment_id = e.id, generate_series(1, 100) where e.created_by = 'bench';
analyze;
"""


def list_apps():
    psql = [sorted(glob.glob("/usr/lib/postgresql/*/bin/psql"))[-1], "-h", data + "/postgres/run", "-U", "slipway", "-d", "slipway", "-q", "-v", "ON_ERROR_STOP=1"]
    subprocess.run([*psql, "-c", SEED], check=True, capture_output=True)
    for _ in range(50):
        call("GET", "/v1/apps")
    times = sorted(timed(lambda: call("GET", "/v1/apps")) for _ in range(500))
    row("GET /v1/apps, 1,000 apps and 100,000 deployments, 500 calls", f"p50 {times[250]:.1f} ms, p99 {times[494]:.1f} ms", "p99 ≤ 10 ms")


def main():
    print("| what | measured | target |\n|---|---|---|")
    row("first `slipway up --detach` to ready", f"{timed(up):.0f} ms", "≤ 8 s")
    down()
    row("`slipway up --detach` with the cluster there", f"{timed(up):.0f} ms", "≤ 2 s")
    row("release binary", f"{os.path.getsize(slipway) / 2**20:.1f} MiB", "≤ 40 MiB")
    deploy_latency()
    rollback_afresh()
    switch_and_rollback()
    waking()
    replacing()
    degrading()
    fifty_apps()
    # Before the thousand apps of the list: they too are looked at once a minute.
    if os.environ.get("WIDE"):
        five_hundred()
    list_apps()


main()
