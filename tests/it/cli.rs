//! The command line, as its user types it.

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::engine;

/// The program, in a folder of its own and with an environment of its own, on the engine under test.
pub fn renewd(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_renewd"));
    command.current_dir(dir).env_clear();
    let url = engine::database_url(&dir.join("data"));
    if !url.is_empty() {
        command.env("RENEWD_DATABASE_URL", url);
    }
    command
}

fn run(dir: &TempDir, arguments: &[&str]) -> Output {
    renewd(dir.path()).args(arguments).output().unwrap()
}

#[track_caller]
fn stdout(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn failure(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code));
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn apps_are_made_listed_shown_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    // Who makes the store is shown its root key beside the output, this once.
    let migrated = run(&dir, &["migrate"]);
    let beside = String::from_utf8(migrated.stderr.clone()).unwrap();
    assert!(beside.contains("rnw_root_"), "{beside}");
    stdout(&migrated);
    let made = run(
        &dir,
        &[
            "app",
            "create",
            "shop",
            "--refresh-grace",
            "10",
            "--allowed-origin",
            "https://a.example",
            "--json",
        ],
    );
    assert!(!String::from_utf8_lossy(&made.stderr).contains("rnw_root_"));
    let made: Value = serde_json::from_str(&stdout(&made)).unwrap();
    let id = made["app_id"].as_str().unwrap();
    assert!(made["app_key"].as_str().unwrap().starts_with("rnw_sk_"));

    let listed = run(&dir, &["app", "list", "--json"]);
    assert!(!String::from_utf8_lossy(&listed.stderr).contains("rnw_root_"));
    let listed: Value = serde_json::from_str(&stdout(&listed)).unwrap();
    let shown = run(&dir, &["app", "show", id, "--json"]);
    let shown: Value = serde_json::from_str(&stdout(&shown)).unwrap();
    assert_eq!(
        listed["apps"].as_array().unwrap().as_slice(),
        std::slice::from_ref(&shown)
    );
    assert_eq!(shown["refresh_grace"], 10);
    assert_eq!(shown["allowed_origins"][0], "https://a.example");
    assert_eq!(shown["token_expiry"], 3600);
    assert!(stdout(&run(&dir, &["app", "show", id])).contains("refresh_grace             10"));
    let table = stdout(&run(&dir, &["app", "list"]));
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 2, "{table}");
    assert!(lines[0].starts_with("id  "), "{table}");
    assert!(
        lines[1].starts_with(&format!("{id}  shop  ES256  3600")),
        "{table}"
    );

    stdout(&run(&dir, &["app", "delete", id]));
    assert_eq!(stdout(&run(&dir, &["app", "list"])), "");
    let again = failure(&run(&dir, &["app", "delete", id]), 1);
    assert!(again.contains("no such app"), "{again}");
    let shown = failure(&run(&dir, &["app", "show", id]), 1);
    assert!(shown.contains("there is no app"), "{shown}");
}

/// Every member of the contract has a flag, and the flag is what is stored.
#[test]
fn every_field_of_a_policy_has_a_flag() {
    let dir = tempfile::tempdir().unwrap();
    stdout(&run(&dir, &["migrate"]));
    let flags = [
        ("description", "a note", serde_json::json!("a note")),
        ("token_expire", "900", 900.into()),
        ("token_notbefore", "1", 1.into()),
        ("refresh_expire", "7200", 7200.into()),
        ("refresh_notbefore", "2", 2.into()),
        ("key_type", "EdDSA", "EdDSA".into()),
        ("algo", "EdDSA", "EdDSA".into()),
        ("rotation_period", "86400", 86_400.into()),
        ("issuer", "me", "me".into()),
        ("refresh_grace", "9", 9.into()),
        ("session_expire", "90000", 90_000.into()),
        ("max_sessions_per_subject", "3", 3.into()),
        (
            "allowed_origin",
            "https://a.example",
            serde_json::json!(["https://a.example"]),
        ),
        ("registration_grace", "61", 61.into()),
        ("registration_expire", "62", 62.into()),
        ("push_binding", "true", true.into()),
        (
            "device_audience",
            "telemetry",
            serde_json::json!(["telemetry"]),
        ),
    ];
    let document: Value = serde_json::from_str(include_str!("../../openapi.json")).unwrap();
    let fields = &document["components"]["schemas"]["CreateRequest"]["properties"];
    assert_eq!(
        fields.as_object().unwrap().len(),
        flags.len() + 1,
        "the name, and these"
    );
    let help = stdout(&run(&dir, &["app", "create", "--help"]));
    for (name, ..) in &flags {
        let flag = name.replace('_', "-");
        let of_list = format!("{name}s");
        let about = fields.get(*name).unwrap_or_else(|| &fields[&of_list])["description"].as_str();
        let about = about.unwrap().trim_end_matches('.').replace('`', "");
        assert!(
            help.contains(&format!("--{flag}")) && help.contains(&about),
            "{flag}: {about}"
        );
    }

    let words: Vec<_> = flags
        .iter()
        .map(|(name, value, _)| format!("--{}={value}", name.replace('_', "-")))
        .collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let shown = |id: &str| -> Value {
        serde_json::from_str(&stdout(&run(&dir, &["app", "show", id, "--json"]))).unwrap()
    };
    let create = |words: &[&str]| {
        let made = run(&dir, &[&["app", "create", "--json"], words].concat());
        let made: Value = serde_json::from_str(&stdout(&made)).unwrap();
        made["app_id"].as_str().unwrap().to_owned()
    };
    let made = create(&[&words[..], &["shop"]].concat());
    let changed = create(&["--push-binding", "other"]);
    assert_eq!(shown(&changed)["push_binding"], true);
    let update = run(
        &dir,
        &[&["app", "update", &changed, "--name", "shop"], &words[..]].concat(),
    );
    assert_eq!(stdout(&update), format!("Changed {changed}.\n"));
    for id in [&made, &changed] {
        let shown = shown(id);
        assert_eq!(shown["name"], "shop");
        for (name, _, expected) in &flags {
            let name = match *name {
                "token_expire" | "refresh_expire" => name.replace("expire", "expiry"),
                "allowed_origin" | "device_audience" => format!("{name}s"),
                name => name.to_owned(),
            };
            assert_eq!(shown[&name], *expected, "{name}");
        }
    }
    stdout(&run(
        &dir,
        &["app", "update", &changed, "--push-binding=false"],
    ));
    assert_eq!(shown(&changed)["push_binding"], false);
    assert_eq!(shown(&changed)["refresh_grace"], 9);
    let wrong = failure(
        &run(&dir, &["app", "update", &changed, "--refresh-grace", "61"]),
        1,
    );
    assert!(
        wrong.contains("refresh-grace must be 0 to 60 seconds"),
        "{wrong}"
    );
    let wrong = failure(&run(&dir, &["app", "create", "a", "--algo", "HS256"]), 2);
    assert!(wrong.contains("algo: unknown variant `HS256`"), "{wrong}");
}

#[test]
fn apps_are_listed_by_pages_and_by_name() {
    let dir = tempfile::tempdir().unwrap();
    stdout(&run(&dir, &["migrate"]));
    for name in ["shop a", "other", "Shop b"] {
        stdout(&run(&dir, &["app", "create", name]));
    }
    let list = |more: &[&str]| {
        let words = [&["app", "list", "--json"], more].concat();
        let listed: Value = serde_json::from_str(&stdout(&run(&dir, &words))).unwrap();
        let apps = listed["apps"].as_array().unwrap();
        let names: Vec<_> = apps
            .iter()
            .map(|app| app["name"].as_str().unwrap().to_owned())
            .collect();
        (
            names.join(", "),
            listed["next_cursor"].as_str().map(str::to_owned),
        )
    };
    assert_eq!(
        list(&["--name", "shop"]),
        ("Shop b, shop a".to_owned(), None)
    );
    let (first, next) = list(&["--limit", "2"]);
    let next = next.unwrap();
    assert_eq!(
        (&*first, list(&["--cursor", &next])),
        ("Shop b, other", ("shop a".to_owned(), None))
    );
    let page = run(&dir, &["app", "list", "--name", "shop", "--limit", "1"]);
    let told = String::from_utf8(page.stderr.clone()).unwrap();
    assert!(told.starts_with("There are more: --cursor "), "{told}");
    assert_eq!(stdout(&page).lines().count(), 2);
}

#[test]
fn wrong_input_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mistakes: [(&[&str], i32, &str); 8] = [
        (
            &["app", "create", "shop", "--token-expire", "59"],
            1,
            "token-expire must be 60 to 31536000 seconds",
        ),
        (
            &["app", "create", "shop", "--refresh-notbefore", "3600"],
            1,
            "refresh-notbefore must be below token_expire",
        ),
        (
            &["app", "create", "shop", "--refresh-grace", "61"],
            1,
            "refresh-grace must be 0 to 60 seconds",
        ),
        (
            &["app", "create", ""],
            1,
            "name must have 1 to 100 characters",
        ),
        (&["app", "show", "garbage"], 2, "not a ULID"),
        (&["--listen", "here", "config"], 1, "invalid socket address"),
        (
            &["--config", "missing.toml", "config"],
            1,
            "cannot read the settings file missing.toml",
        ),
        (&["unknown"], 2, "unrecognized subcommand"),
    ];
    stdout(&run(&dir, &["migrate"]));
    for (arguments, code, expected) in mistakes {
        let message = failure(&run(&dir, arguments), code);
        assert!(message.contains(expected), "{arguments:?}: {message}");
    }
}

/// The driver's pool would tell that it has waited, and nothing of where or why.
#[test]
fn a_database_that_is_not_there_is_named_with_the_cause() {
    let dir = tempfile::tempdir().unwrap();
    for scheme in ["postgres", "mysql"] {
        let mut program = renewd(dir.path());
        let url = format!("{scheme}://me:hu-sh@127.0.0.1:1/db");
        program
            .env("RENEWD_DATABASE_URL", url)
            .env("RENEWD_DATABASE_TIMEOUT_MS", "300");
        let message = failure(&program.arg("migrate").output().unwrap(), 1);
        assert!(message.contains("127.0.0.1:1: "), "{message}");
        assert!(message.contains("refused"), "{message}");
    }
}

/// A name that is misspelt in the environment is told as one in the file is, and does not just have no effect.
#[test]
fn an_unknown_variable_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let run = |name: &str| {
        renewd(dir.path())
            .arg("config")
            .env(name, "1")
            .output()
            .unwrap()
    };
    let message = failure(&run("RENEWD_LEEWEY"), 1);
    assert!(message.contains("RENEWD_LEEWEY is no setting"), "{message}");
    assert!(run("RENEWD_LEEWAY").status.success());
    // Of a service of this name in Kubernetes.
    assert!(run("RENEWD_SERVICE_HOST").status.success());
}

#[test]
fn the_root_key_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    stdout(&run(&dir, &["migrate"]));
    let rotated = stdout(&run(&dir, &["key", "rotate-root", "--json"]));
    let rotated: Value = serde_json::from_str(&rotated).unwrap();
    let key = rotated["new-key"].as_str().unwrap();
    let with = |key: &str| {
        let mut command = renewd(dir.path());
        command
            .env("RENEWD_ROOT_KEY", key)
            .args(["app", "list"])
            .output()
            .unwrap()
    };
    // A command has nothing to do with the variable, which is for a fresh store.
    for key in [key, &"another-root-key".repeat(2)] {
        let output = with(key);
        stdout(&output);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
}

/// Whoever has set `RENEWD_ROOT_KEY` and replaces the root key can start again, and is told which of them counts.
#[test]
fn a_start_says_that_the_store_has_another_root_key() {
    let dir = tempfile::tempdir().unwrap();
    let start = || {
        let mut command = renewd(dir.path());
        let output = command
            .env("RENEWD_ROOT_KEY", "the-first-root-key".repeat(2))
            .arg("migrate")
            .output()
            .unwrap();
        stdout(&output);
        String::from_utf8(output.stderr).unwrap()
    };
    let told = |log: &str| {
        let lines = log.lines();
        lines
            .filter(|line| line.contains("RENEWD_ROOT_KEY is not the root key of this store"))
            .count()
    };
    assert_eq!((start(), start()), (String::new(), String::new()));
    stdout(&run(&dir, &["key", "rotate-root"]));
    let log = start();
    assert_eq!((log.lines().count(), told(&log)), (1, 1), "{log}");
    assert!(!log.contains("the-first-root-key"), "{log}");
}

/// One that has not the form of a root key makes none; where there is one already, the variable is not asked for it.
#[test]
fn a_malformed_root_key_matters_to_a_fresh_store_only() {
    let dir = tempfile::tempdir().unwrap();
    let with = |key: &str, arguments: &[&str]| {
        let mut command = renewd(dir.path());
        command.env("RENEWD_ROOT_KEY", key).args(arguments);
        command.output().unwrap()
    };
    let malformed = ["", "  ", "short"];
    for key in malformed {
        let message = failure(&with(key, &["migrate"]), 1);
        assert!(message.contains("32 to 256"), "{message}");
    }
    let good = "the-root-key".repeat(3);
    stdout(&with(&good, &["migrate"]));
    for key in malformed {
        let listed = with(key, &["app", "list"]);
        stdout(&listed);
        assert_eq!(String::from_utf8_lossy(&listed.stderr), "");
        let started = with(key, &["migrate"]);
        stdout(&started);
        let log = String::from_utf8_lossy(&started.stderr);
        let told = log.contains("RENEWD_ROOT_KEY is not the root key of this store");
        assert!(told, "{log}");
    }
}

/// Nothing but `serve` and `migrate` makes a store: not in a wrong folder, not in a database without tables.
#[test]
fn a_command_makes_no_store() {
    let id = "01JMWRJEJ71191KP88NDGWVYEW";
    let commands: [&[&str]; 17] = [
        &["app", "list"],
        &["app", "create", "shop"],
        &["app", "show", id],
        &["app", "flush", id],
        &["app", "delete", id],
        &["app-key", "list", id],
        &["app-key", "create", id, "billing"],
        &["app-key", "rotate", id],
        &["app-key", "revoke", id, id],
        &["signing-key", "list", id],
        &["signing-key", "rotate", id],
        &["signing-key", "replace", id],
        &["signing-key", "revoke", id, id],
        &["key", "rotate-root"],
        &["key", "rekey"],
        &["audit"],
        &["backup", "copy.db"],
    ];
    let dir = tempfile::tempdir().unwrap();
    let is_empty = || std::fs::read_dir(dir.path()).unwrap().next().is_none();
    for arguments in commands {
        let message = failure(&run(&dir, arguments), 1);
        let place = dir.path().canonicalize().unwrap().join("data/renewd.db");
        let expected = if engine::nodes().is_empty() {
            format!("there is no store at {}: `renewd serve`", place.display())
        } else {
            "the database of database_url has no store: `renewd serve`".to_owned()
        };
        assert!(message.contains(&expected), "{arguments:?}: {message}");
        assert!(is_empty(), "{arguments:?}");
    }
    // Elsewhere.
    let output = renewd(dir.path())
        .env(
            "RENEWD_DATABASE_URL",
            "sqlite://elsewhere/store.db?mode=rwc",
        )
        .args(["app", "list"])
        .output()
        .unwrap();
    let message = failure(&output, 1);
    assert!(message.contains("/elsewhere/store.db: "), "{message}");
    assert!(is_empty());

    stdout(&run(&dir, &["migrate"]));
    stdout(&run(&dir, &["app", "list"]));
    // Nor a master key, whose store would then be told to have another.
    let key = dir.path().join("data/master.key");
    std::fs::remove_file(&key).unwrap();
    let message = failure(&run(&dir, &["app", "list"]), 1);
    assert!(message.contains("the master key is missing"), "{message}");
    assert!(!key.exists());
}

#[test]
fn settings_come_from_file_environment_and_flags() {
    let dir = tempfile::tempdir().unwrap();
    let file =
        "leeway = 1\njwks_max_age = 60\nlog = 'warn'\ndatabase_url = 'postgres://me:hush@host/db'";
    std::fs::write(dir.path().join("renewd.toml"), file).unwrap();
    let output = renewd(dir.path())
        .env_remove("RENEWD_DATABASE_URL")
        .env("RENEWD_JWKS_MAX_AGE", "120")
        .env("RENEWD_LOG", "error")
        .env("RENEWD_TRUSTED_PROXIES", "10.0.0.0/8,::1")
        .env("RENEWD_ROOT_KEY", "hush".repeat(8))
        .args(["config", "--log", "debug"])
        .output()
        .unwrap();
    let shown = stdout(&output);
    for line in [
        "leeway = 1",
        "jwks_max_age = 120",
        "log = \"debug\"",
        "trusted_proxies = [\"10.0.0.0/8\", \"::1/128\"]",
        "database_url = \"postgres://me:***@host/db\"",
        "listen = \"127.0.0.1:2025\"",
        "# RENEWD_ROOT_KEY: set, not shown",
        "# RENEWD_MASTER_KEY: not set",
    ] {
        assert!(
            shown.lines().any(|shown| shown == line),
            "{line} in\n{shown}"
        );
    }
    assert!(!shown.contains("hush"));
    assert!(!dir.path().join("data").exists(), "looking changes nothing");
}

/// Whatever the URL of the store looks like: no setting that is shown, no error and no line of the log shows its password.
#[test]
fn the_password_of_the_store_is_never_shown() {
    for url in [
        "postgres://me:hu-sh@127.0.0.1:1/db",
        "postgres://127.0.0.1:1/db?user=me&password=hu-sh",
        "postgres://127.0.0.1:1/db?user=me&pasword=hu-sh",
        "postgres://127.0.0.1:1/db?sslmode=disable&hu-sh",
        "mysql://me:hu-sh@127.0.0.1:1/db?key=hu-sh",
        "mariadb://me:hu-sh@127.0.0.1:1/db",
        "postgres://me:hu-sh@127.0.0.1:port/db",
        "postgres://me:12/hu-sh@127.0.0.1/db",
        "postgres://me:hu-sh@[127.0.0.1/db",
        "postgres//me:hu-sh@127.0.0.1/db",
        "me:hu-sh@127.0.0.1/db",
        "sqlite://me:hu-sh@127.0.0.1:x/db",
    ] {
        let dir = tempfile::tempdir().unwrap();
        for command in ["config", "serve", "migrate", "restore"] {
            let mut program = renewd(dir.path());
            program
                .env("RENEWD_DATABASE_URL", url)
                .env("RENEWD_DATABASE_TIMEOUT_MS", "300")
                .env("RENEWD_LISTEN", "127.0.0.1:0")
                .env("RENEWD_METRICS_LISTEN", "off")
                .env("RENEWD_LOG", "trace")
                .arg(command);
            if command == "restore" {
                program.arg("no-such-file");
            }
            let output = program.output().unwrap();
            assert_eq!(
                output.status.success(),
                command == "config",
                "{url} {command}"
            );
            for shown in [output.stdout, output.stderr] {
                let shown = String::from_utf8(shown).unwrap();
                assert!(!shown.contains("hu-sh"), "{url} {command}: {shown}");
            }
        }
        // A settings file that is no TOML is not quoted.
        let file = format!("database_url = '{url}\n");
        std::fs::write(dir.path().join("renewd.toml"), file).unwrap();
        let message = failure(&renewd(dir.path()).arg("config").output().unwrap(), 1);
        assert!(message.contains("in renewd.toml, line 1: "), "{message}");
        assert!(!message.contains("hu-sh"), "{message}");
    }
}

#[test]
fn the_openapi_document_is_printed() {
    let dir = tempfile::tempdir().unwrap();
    let printed = stdout(&run(&dir, &["openapi"]));
    assert!(
        printed == include_str!("../../openapi.json"),
        "openapi.json is stale"
    );
    assert!(!dir.path().join("data").exists());
}

#[test]
fn keys_of_all_kinds_are_administered() {
    let dir = tempfile::tempdir().unwrap();
    stdout(&run(&dir, &["migrate"]));
    let made = stdout(&run(&dir, &["app", "create", "shop", "--json"]));
    let made: Value = serde_json::from_str(&made).unwrap();
    let app = made["app_id"].as_str().unwrap();
    let json = |arguments: &[&str]| -> Value {
        let arguments = [arguments, &["--json"]].concat();
        serde_json::from_str(&stdout(&run(&dir, &arguments))).unwrap()
    };

    let key = json(&[
        "app-key",
        "create",
        app,
        "billing",
        "--kind",
        "publishable",
        "--expires-in",
        "60",
    ]);
    assert!(key["app_key"].as_str().unwrap().starts_with("rnw_pk_"));
    let rotated = json(&["app-key", "rotate", app, "--overlap", "0"]);
    assert!(rotated["app_key"].as_str().unwrap().starts_with("rnw_sk_"));
    let keys = json(&["app-key", "list", app]);
    let keys = keys["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 4);
    assert_eq!(
        keys.iter().filter(|key| key["name"] == "billing").count(),
        1
    );
    let id = key["id"].as_str().unwrap();
    stdout(&run(&dir, &["app-key", "revoke", app, id]));
    let again = failure(&run(&dir, &["app-key", "revoke", app, id]), 1);
    assert!(again.contains("no such app-key"), "{again}");
    assert!(stdout(&run(&dir, &["app-key", "list", app])).starts_with("id  "));

    assert!(
        stdout(&run(&dir, &["signing-key", "rotate", app])).contains("is published and signs from")
    );
    let states = json(&["signing-key", "list", app]);
    let states: Vec<_> = states["signing_keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| &key["state"])
        .collect();
    assert_eq!(states, ["published", "active"]);
    stdout(&run(&dir, &["signing-key", "replace", app]));
    let keys = json(&["signing-key", "list", app]);
    let active = keys["signing_keys"]
        .as_array()
        .unwrap()
        .iter()
        .find(|key| key["state"] == "active");
    let active = active.unwrap()["key_id"].as_str().unwrap();
    stdout(&run(&dir, &["signing-key", "revoke", app, active]));
    stdout(&run(&dir, &["app", "flush", app]));

    let audit = json(&["audit", "--app", app, "--limit", "3"]);
    let actions: Vec<_> = audit["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| &event["action"])
        .collect();
    assert_eq!(actions[0], "app.flush");
    assert_eq!(actions.len(), 3);
    assert!(audit["events"][0]["actor"] == "cli");
    let none = json(&["audit", "--since", "2200-01-01T00:00:00Z"]);
    assert_eq!(none["events"], serde_json::json!([]));
    let wrong = failure(&run(&dir, &["audit", "--since", "yesterday"]), 2);
    assert!(wrong.contains("must be a time in RFC 3339"), "{wrong}");
}

#[test]
fn help_and_completions_name_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let help = stdout(&run(&dir, &["--help"]));
    let completions = stdout(&run(&dir, &["completions", "bash"]));
    for command in [
        "serve",
        "migrate",
        "app",
        "app-key",
        "signing-key",
        "key",
        "audit",
        "backup",
        "bench",
        "restore",
        "openapi",
        "config",
        "completions",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{command}");
        assert!(completions.contains(command), "{command}");
    }
    for setting in [
        "RENEWD_LISTEN",
        "RENEWD_DATABASE_URL",
        "RENEWD_AUDIT_RETENTION_DAYS",
    ] {
        assert!(help.contains(setting), "{setting}");
    }
}
