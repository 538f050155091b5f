//! The same tests on every engine.

use std::{
    env,
    process::{Command, Stdio},
};

use crate::support::engine;

/// Tests that run at once on a server: most of the time each waits for the server.
const THREADS: &str = "6";

/// Runs this whole binary again for each engine that `RENEWD_TEST_DATABASE_URLS` names: URLs of servers on which databases
/// may be made, separated by spaces; those of the nodes of a cluster, by commas. An engine that does not answer is a failure.
#[test]
fn every_engine_passes_the_same_tests() {
    let urls = env::var("RENEWD_TEST_DATABASE_URLS").unwrap_or_default();
    let mut failed = Vec::new();
    for nodes in urls.split_whitespace() {
        let mut tests = Command::new(env::current_exe().unwrap());
        tests.args(["--skip", "engines::", "--skip", "once::"]);
        tests.args(["--test-threads", THREADS]);
        if nodes.contains(',') {
            // Who may do what is the same on the single server, whose statements are the same.
            tests.args(["--skip", "device_matrix::"]);
        }
        tests
            .env(engine::ENGINE, nodes)
            .env_remove("RENEWD_TEST_DATABASE_URLS")
            .stdin(Stdio::null());
        let mut tests = tests.spawn().unwrap();
        let status = tests.wait().unwrap();
        engine::drop_databases(nodes.split(',').next().unwrap(), tests.id());
        if !status.success() {
            failed.push(nodes.rsplit('@').next().unwrap_or_default().to_owned());
        }
    }
    assert!(failed.is_empty(), "failed on {failed:?}");
}
