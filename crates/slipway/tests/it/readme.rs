//! The README's lines for CI, run as they stand.

use std::process::Command;

use serde_json::json;

use crate::platform::{Platform, registry};

const README: &str = include_str!("../../../../README.md");

/// The words of the first `curl` command after a mark, as a shell would split them: at blanks outside of double quotes.
fn curl_after(mark: &str) -> Vec<String> {
    let from = README.find(mark).expect("the README shows it");
    let block = &README[from..];
    let begin = block.find("curl ").expect("a curl command");
    let end = begin + block[begin..].find("||").expect("what happens when it fails");
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in block[begin..end].replace("\\\n", " ").chars() {
        match letter {
            '"' => quoted = !quoted,
            blank if blank.is_whitespace() && !quoted => words.push(String::new()),
            other => words.last_mut().expect("never empty").push(other),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn the_readmes_ci_lines_deploy() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app(
        "web",
        &json!({"health": {"path": "/healthz"}, "resources": {"memory": "64MiB"}}),
    );
    let body = json!({"name": "ci", "scopes": ["deploy:app"], "apps": ["web"]});
    let made = platform.call("POST", "/v1/tokens", Some(&body)).expect(201);
    let token = made["token"].as_str().expect("a token");
    let api = format!("http://{}", platform.api);
    let app = format!("{}/slipway-test/app", registry());
    for (mark, tag) in [("# GitHub Actions", "1"), ("# GitLab CI", "2")] {
        let known = [
            ("https://console.example.com", api.as_str()),
            ("registry.example.com/team/web", &app),
            ("$CI_REGISTRY_IMAGE", &app),
            ("${{ github.sha }}", tag),
            ("$CI_COMMIT_SHA", tag),
            ("${{ secrets.SLIPWAY_TOKEN }}", token),
            ("$SLIPWAY_TOKEN", token),
            ("${{ github.run_id }}", "7"),
            ("${{ github.run_attempt }}", "1"),
            ("$CI_JOB_ID", "job-8"),
        ];
        let fill = |word: String| known.iter().fold(word, |word, (name, value)| word.replace(name, value));
        let words: Vec<String> = curl_after(mark).into_iter().map(fill).collect();
        assert!(!words.iter().any(|w| w.contains('$')), "{words:?}");
        let output = Command::new(&words[0])
            .args(&words[1..])
            .current_dir(platform.data())
            .output()
            .expect("curl runs");
        let answer = std::fs::read_to_string(platform.data().join("deployment.json")).unwrap_or_default();
        assert!(output.status.success(), "{mark}: {output:?} {answer}");
        assert!(answer.contains(r#""state":"succeeded""#), "{mark}: {answer}");
    }
    assert_eq!(
        platform.visit("web.apps.localhost", "/echo").expect(200)["release"],
        "2"
    );
}
