//! Sources put together, and what is refused.

use super::*;

fn sources(flags: &[(&str, &str)], variables: &[(&str, &str)], file: &str) -> (tempfile::TempDir, Sources) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("slipway-server.toml");
    std::fs::write(&path, file).expect("a file");
    let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let sources = Sources {
        file: Some(path),
        flags: map(flags),
        variables: map(variables),
        is_root: true,
        is_terminal: false,
    };
    (dir, sources)
}

#[test]
fn flags_come_before_variables_before_the_file_before_defaults() {
    let file = "api_listen = \"127.0.0.1:1\"\nadmin_listen = \"127.0.0.1:2\"\nlog = \"debug\"";
    let variables = [
        ("SLIPWAY_API_LISTEN", "127.0.0.1:3"),
        ("SLIPWAY_ADMIN_LISTEN", "127.0.0.1:4"),
    ];
    let (_dir, sources) = sources(&[("api_listen", "127.0.0.1:5")], &variables, file);
    let config = Config::load(sources).expect("usable");
    assert_eq!(config.api_listen.port(), 5);
    assert_eq!(config.admin_listen.port(), 4);
    assert_eq!(config.log, "debug");
    assert_eq!(config.proxy_admin_listen.port(), 7072);
    assert_eq!(config.data_dir, Path::new("/var/lib/slipway"));
}

#[test]
fn what_cannot_be_used_says_where_it_came_from_and_what_would_do() {
    for (flags, variables, file, says) in [
        (&[][..], &[][..], "api_listn = \"x\"", "did you mean `api_listen`"),
        (&[("api_listen", "nowhere")][..], &[], "", "--api-listen: `nowhere`"),
        (
            &[],
            &[("SLIPWAY_NETWORK_POOL", "10.0.0.0/30")][..],
            "",
            "at least one /26",
        ),
        (&[], &[("SLIPWAY_DISK_FREE_MIN", "lots")], "", "10%"),
        (&[], &[("SLIPWAY_LOG_FORMAT", "xml")], "", "json or text"),
        (&[], &[("SLIPWAY_LOG", "a=b=c")], "", "target=level"),
        (&[], &[("SLIPWAY_LOG", "loud")], "", "target=level"),
        (&[], &[("SLIPWAY_NETWORK_POOL", "8.8.0.0/16")], "", "10.0.0.0/8"),
        (&[], &[("SLIPWAY_NETWORK_POOL", "10.0.0.0/7")], "", "10.0.0.0/8"),
        (&[], &[("SLIPWAY_COLOUR_SCHEME", "dark")], "", "no such setting"),
        (&[], &[("SLIPWAY_BACKUP_URL", "s3:/x")], "", "s3://bucket/prefix"),
        (&[], &[("SLIPWAY_BACKUP_URL", "s3://key:secret@x")], "", "AWS_"),
        (&[], &[("SLIPWAY_BACKUP_RECIPIENTS", "age1x")], "", "age-keygen"),
        (
            &[],
            &[("SLIPWAY_API_LISTN", "x")],
            "",
            "did you mean `SLIPWAY_API_LISTEN`",
        ),
        (
            &[],
            &[("SLIPWAY_DATABASE_URL", "mysql://root:secret@host/x")],
            "",
            "address of a Postgres",
        ),
        (
            &[],
            &[("SLIPWAY_API_DOMAIN", "api.apps.localhost")],
            "",
            "outside the base domain",
        ),
        (&[], &[("SLIPWAY_DOCKER_HOST", "docker")], "", "unix:///path"),
        (&[], &[("SLIPWAY_CONTROL_URL", "https://x")], "", "unix://"),
        (&[], &[], "log = 3.5", "in quotes"),
        (
            &[],
            &[("SLIPWAY_BASE_DOMN", "x.test")],
            "",
            "did you mean `SLIPWAY_BASE_DOMAIN`",
        ),
        (&[], &[("SLIPWAY_HTPS_LISTEN", "x")], "", "mean `SLIPWAY_HTTPS_LISTEN`"),
        (
            &[("api_listen", "[::]:443"), ("https_listen", "[::]:443")],
            &[],
            "",
            "SLIPWAY_API_LISTEN has",
        ),
    ] {
        let (_dir, sources) = sources(flags, variables, file);
        let error = Config::load(sources).expect_err(says).to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn files_that_do_not_hold_what_they_should_are_refused_before_anything_runs() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("file");
    let path = path.to_str().expect("UTF-8");
    for (content, variable, says) in [
        ("", "SLIPWAY_ACME_ROOTS", "root certificates in PEM"),
        ("wrong", "SLIPWAY_ACME_ROOTS", "root certificates in PEM"),
        ("", "SLIPWAY_DNS_TRUST_ANCHOR", "IN DNSKEY"),
        ("example.com. IN A 192.0.2.1", "SLIPWAY_DNS_TRUST_ANCHOR", "IN DNSKEY"),
        ("not a zone file", "SLIPWAY_DNS_TRUST_ANCHOR", "IN DNSKEY"),
    ] {
        std::fs::write(path, content).expect("written");
        let (_dir, sources) = sources(&[], &[(variable, path)], "");
        let error = Config::load(sources).expect_err(content).to_string();
        assert!(error.contains(says) && error.contains(path), "{content}: {error}");
    }
}

#[test]
fn what_is_said_of_a_ca_is_said_of_its_host_with_or_without_the_port() {
    let staging = |written: &'static str| {
        let variables = [
            (
                "SLIPWAY_ACME_DIRECTORY",
                "https://ca.example.com:14000/dir,https://ca.example.com:15000/dir",
            ),
            ("SLIPWAY_ACME_STAGING", written),
        ];
        let (_dir, sources) = sources(&[], &variables, "");
        let config = Config::load(sources).expect("usable");
        let cas = &config.domains.cas;
        cas.iter()
            .map(|ca| ca.staging.clone().unwrap_or_default())
            .collect::<Vec<_>>()
    };
    let (one, other) = ("https://one.example.com/", "https://other.example.com/");
    assert_eq!(staging("ca.example.com=https://one.example.com/"), [one, one]);
    assert_eq!(
        staging("ca.example.com:14000=https://one.example.com/,ca.example.com:15000=https://other.example.com/"),
        [one, other]
    );
}

#[test]
fn more_dns_servers_than_are_asked_are_refused() {
    let five = "192.0.2.1,192.0.2.2,192.0.2.3,192.0.2.4,192.0.2.5";
    let (_dir, sources) = sources(&[], &[("SLIPWAY_DNS_RESOLVERS", five)], "");
    let error = Config::load(sources).expect_err("refused").to_string();
    assert!(error.contains("four DNS servers at most"), "{error}");
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let variables = [("SLIPWAY_API_LISTN", "x"), ("SLIPWAY_LOG_FORMAT", "xml")];
    let file = "colour = \"red\"\nlog = 3.5\ndisk_free_min = \"lots\"";
    let (_dir, sources) = sources(&[("api_listen", "nowhere")], &variables, file);
    let error = Config::load(sources).expect_err("unusable").to_string();
    for says in ["SLIPWAY_API_LISTN", "xml", "colour", "3.5", "lots", "nowhere"] {
        assert_eq!(error.lines().filter(|l| l.contains(says)).count(), 1, "{says}: {error}");
    }
}

#[test]
fn variables_of_others_with_our_prefix_are_left_alone() {
    let others = [
        "TOKEN",
        "URL",
        "APP",
        "ENVIRONMENT",
        "CACERT",
        "RELEASE",
        "TEST_DATABASE_URL",
        "PORT_7070_TCP",
    ];
    let others: Vec<String> = others.iter().map(|name| format!("SLIPWAY_{name}")).collect();
    let variables: Vec<(&str, &str)> = others.iter().map(|name| (name.as_str(), "x")).collect();
    let (_dir, sources) = sources(&[], &variables, "");
    assert!(Config::load(sources).is_ok());
}

#[test]
fn a_secret_is_checked_and_never_shown() {
    for (variable, value) in [
        ("SLIPWAY_BOOTSTRAP_TOKEN", "slw_pat_typo"),
        ("SLIPWAY_ALERT_WEBHOOK_URL", "ftp://host/typo"),
        ("SLIPWAY_ALERT_WEBHOOK_URL", "typo"),
    ] {
        let (_dir, sources) = sources(&[], &[(variable, value)], "");
        let error = Config::load(sources).expect_err("malformed").to_string();
        assert!(error.contains(variable) && !error.contains("typo"), "{error}");
    }
}

#[test]
fn a_mail_server_needs_a_writer_and_a_reader_and_gets_a_password_over_tls_only() {
    let all = |url: &'static str| {
        [
            ("SLIPWAY_SMTP_URL", url),
            ("SLIPWAY_SMTP_FROM", "slipway@example.com"),
            ("SLIPWAY_ALERT_EMAIL", "ops@example.com, Ops <two@example.com>"),
        ]
    };
    for good in [
        "smtps://u:p@mail.example.com",
        "smtp://u:p@mail.example.com:587?tls=required",
        "smtp://mail.example.com:25",
        "smtp://u:p@127.0.0.1:2525",
    ] {
        let (_dir, sources) = sources(&[], &all(good), "");
        let mail = Config::load(sources).expect("right").mail.expect("set");
        assert_eq!(mail.to.len(), 2, "{good}");
    }
    for (variables, says) in [
        (&all("smtp://u:typo@mail.example.com:25")[..], "over TLS only"),
        (&all("https://mail.example.com"), "smtps://"),
        (&all("smtps://mail.example.com")[..2], "SLIPWAY_ALERT_EMAIL"),
        (&all("smtps://mail.example.com")[1..], "SLIPWAY_SMTP_URL"),
        (&[all("smtps://mail.example.com")[0], all("")[2]], "SLIPWAY_SMTP_FROM"),
        (&[("SLIPWAY_ALERT_EMAIL", "nobody")], "e-mail addresses"),
    ] {
        let (_dir, sources) = sources(&[], variables, "");
        let error = Config::load(sources).expect_err("refused").to_string();
        assert!(error.contains(says) && !error.contains("typo"), "{says}: {error}");
    }
}

#[test]
fn the_example_is_a_file_of_all_settings_that_loads() {
    let text = example();
    let uncommented: String = text
        .lines()
        .filter_map(|l| l.strip_prefix("# "))
        .filter(|l| l.contains(" = \""))
        .fold(String::new(), |all, line| all + line + "\n");
    let (_dir, sources) = sources(&[], &[], &uncommented);
    assert!(Config::load(sources).is_ok(), "{uncommented}");
    assert_eq!(
        schema()["properties"].as_object().map(serde_json::Map::len),
        Some(SETTINGS.len())
    );
}

#[test]
fn traces_are_exported_as_the_standard_variables_say() {
    let general = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
    let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:4318/v1/traces");
    for (variables, expected) in [
        (&[][..], Ok(false)),
        (&[general][..], Ok(true)),
        (&[own], Ok(true)),
        (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")], Ok(false)),
        (&[general, ("OTEL_SDK_DISABLED", "true")], Ok(false)),
        (&[general, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")], Ok(true)),
        (
            &[general, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
            Err("http/protobuf"),
        ),
    ] {
        let (_dir, sources) = sources(&[], variables, "");
        match (Config::load(sources), expected) {
            (Ok(config), Ok(expected)) => assert_eq!(config.traces, expected, "{variables:?}"),
            (Err(error), Err(says)) => assert!(error.to_string().contains(says), "{error}"),
            (loaded, _) => panic!("{variables:?}: {:?}", loaded.map(|c| c.traces)),
        }
    }
}

#[test]
fn apps_are_told_no_address_that_means_something_else_inside_a_container() {
    for (endpoint, told) in [
        ("http://collector.example.com:4318", true),
        ("http://10.1.2.3:4318", true),
        ("http://127.0.0.1:4318", false),
        ("http://[::1]:4318", false),
        ("http://localhost:4318", false),
    ] {
        let (_dir, sources) = sources(&[], &[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)], "");
        let config = Config::load(sources).expect("usable");
        assert_eq!(config.apps_otlp_endpoint().is_some(), told, "{endpoint}");
        assert!(config.traces, "the platform's own traces go there");
    }
}

#[test]
fn the_version_in_the_name_of_the_database_image_is_replaced() {
    for (given, expected) in [
        ("", "postgres:17"),
        (
            "registry.example.com/postgres:{version}-small",
            "registry.example.com/postgres:17-small",
        ),
    ] {
        let (_dir, sources) = sources(&[("postgres_image", given)], &[], "");
        let config = Config::load(sources).expect("usable");
        assert_eq!(config.postgres_image.as_given(), expected);
    }
}
