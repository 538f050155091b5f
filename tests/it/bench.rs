//! The bench, as its user types it.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;

use crate::{
    cli::renewd,
    support::{ROOT_KEY, engine},
};

fn bench(dir: &Path, arguments: &[&str]) -> Output {
    let small = ["--seconds", "1", "--warm-up", "0", "--sessions", "50"];
    renewd(dir)
        .args(["bench", "--connections", "4"])
        .args(small)
        .args(arguments)
        .output()
        .unwrap()
}

#[track_caller]
fn report(output: &Output) -> Value {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn assert_positive(report: &Value, pointers: &[&str]) {
    for pointer in pointers {
        let figure = report.pointer(pointer).and_then(Value::as_f64);
        assert!(
            figure.is_some_and(|figure| figure > 0.0),
            "{pointer} in {report}"
        );
    }
}

#[test]
fn renewals_are_measured_and_checked() {
    let dir = tempfile::tempdir().unwrap();
    let report = report(&bench(dir.path(), &["--self", "--json"]));
    assert_positive(
        &report,
        &[
            "/operations_per_second",
            "/latency_ms/p50",
            "/latency_ms/p99_9",
            "/latency_ms/max",
            "/floor_us",
            "/runs/0/operations",
            "/runs/0/operations_per_second",
        ],
    );
    if cfg!(target_os = "linux") {
        assert_positive(&report, &["/server_cpu_us_per_operation", "/ratio"]);
    }
    assert_eq!(report["operation"], "renew");
    assert_eq!(report["sessions"], 50);
    assert_eq!(report["runs"].as_array().unwrap().len(), 1);
    assert_eq!(report["runs"][0]["unavailable"], 0);
    assert_eq!(report["used_tokens_refused"], 10);
    assert!(report["tokens_verified"].as_u64().unwrap() >= 10);
    assert_eq!(report["server"], "self");

    let store = report["store"].as_str().unwrap();
    match store.strip_prefix("SQLite in ") {
        // Nothing is left of it, and nothing was made here.
        Some(folder) => {
            assert!(!Path::new(folder).exists());
            assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none());
        }
        // On the engine under test the app is gone.
        None => {
            assert!(!engine::nodes().is_empty(), "{store}");
            let listed = renewd(dir.path()).args(["app", "list"]).output().unwrap();
            assert!(listed.status.success() && listed.stdout.is_empty());
        }
    }
}

#[test]
fn an_open_loop_goes_at_the_rate_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let report = report(&bench(dir.path(), &["--rate", "40", "--json"]));
    // Without a rate it is hundreds.
    let operations = report["runs"][0]["operations"].as_u64().unwrap();
    assert!((10..=60).contains(&operations), "{report}");
    assert_eq!(report["rate"], 40);
}

#[test]
fn beginning_sessions_is_measured() {
    let shown = shown(&["--operation", "sign"]);
    assert!(shown[1].starts_with("sessions "), "{shown:#?}");
    assert!(shown[2].contains("floor (2 signatures) "), "{shown:#?}");
}

#[test]
fn verifying_is_measured() {
    let shown = shown(&["--operation", "verify"]);
    assert!(shown[1].starts_with("verdicts "), "{shown:#?}");
    assert!(shown[2].contains("floor (1 verification) "), "{shown:#?}");
}

#[test]
fn refusing_forgeries_is_measured() {
    let shown = shown(&["--operation", "forged"]);
    assert!(shown[1].starts_with("refusals "), "{shown:#?}");
    assert!(shown[2].contains("floor (1 verification) "), "{shown:#?}");
}

/// The lines that a person sees.
#[track_caller]
fn shown(arguments: &[&str]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let output = bench(dir.path(), arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    let begin = "4 connections, 50 sessions, 1 s, closed loop, ";
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[0].starts_with(begin), "{text}");
    assert!(
        lines[1].contains(" a second     latency ms: p50 "),
        "{text}"
    );
    assert!(lines[2].starts_with("server CPU "), "{text}");
    assert!(
        lines[3].starts_with("checked      every answer; "),
        "{text}"
    );
    lines
}

/// A server that somebody runs; killed when dropped.
struct Running {
    child: Child,
    url: String,
}

impl Running {
    fn start(dir: &Path) -> Self {
        let mut command: Command = renewd(dir);
        command
            .env("RENEWD_LISTEN", "127.0.0.1:0")
            .env("RENEWD_METRICS_LISTEN", "off")
            .env("RENEWD_ROOT_KEY", ROOT_KEY);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = lines
            .find_map(|line| Some(line.unwrap().split_once(" serves ")?.1.to_owned()))
            .unwrap();
        Self { child, url }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_running_server_is_measured_with_its_root_key() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::start(dir.path());
    let with = |key: &str| {
        bench(
            dir.path(),
            &["--url", &server.url, "--root-key", key, "--json"],
        )
    };

    let measured = report(&with(ROOT_KEY));
    assert_positive(&measured, &["/operations_per_second", "/floor_us"]);
    // The process of another machine cannot be read.
    assert_eq!(measured["server_cpu_us_per_operation"], Value::Null);
    assert_eq!(measured["ratio"], Value::Null);
    assert_eq!(measured["server"], server.url.as_str());
    // Its app is gone.
    let listed = renewd(dir.path()).args(["app", "list"]).output().unwrap();
    assert!(listed.status.success() && listed.stdout.is_empty());

    let refused = with(&"another-root-key".repeat(2));
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stdout.is_empty());
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(
        message.contains("the server refused to make an app: 403 "),
        "{message}"
    );
}

#[test]
fn wrong_input_of_the_bench_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mistakes: [(&[&str], i32, &str); 6] = [
        (
            &["--url", "http://127.0.0.1:1"],
            1,
            "--url needs the root key",
        ),
        (
            &["--url", "http://127.0.0.1:1", "--root-key", ROOT_KEY],
            1,
            "cannot connect to http://127.0.0.1:1: ",
        ),
        (
            &["--url", "https://renewd.example", "--root-key", ROOT_KEY],
            1,
            "the bench speaks HTTP without TLS",
        ),
        (
            &["--url", "http://127.0.0.1:1", "--self"],
            2,
            "cannot be used with",
        ),
        (
            &["--operation", "dance"],
            2,
            "[possible values: renew, sign, verify, forged]",
        ),
        (
            &["--database-pid", "4294967295"],
            1,
            "there is no process 4294967295",
        ),
    ];
    for (arguments, code, expected) in mistakes {
        let output = bench(dir.path(), arguments);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
        assert!(output.stdout.is_empty());
        assert!(message.contains(expected), "{arguments:?}: {message}");
    }
    let few = renewd(dir.path())
        .args(["bench", "--sessions", "3"])
        .output()
        .unwrap();
    let message = String::from_utf8(few.stderr).unwrap();
    assert!(
        message.contains("--sessions must be at least --connections"),
        "{message}"
    );
}
