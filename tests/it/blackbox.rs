//! The real program on a real port: started, used, killed, and started again.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    cli::renewd,
    support::{ROOT_KEY, new_app, new_session},
};

/// A running server; killed when dropped.
pub struct Process {
    child: Child,
    url: String,
    stderr: BufReader<ChildStderr>,
}

impl Process {
    pub fn start(dir: &Path) -> Self {
        Self::start_with(dir, &[])
    }

    pub fn start_with(dir: &Path, settings: &[(&str, &str)]) -> Self {
        Self::run(renewd(dir), settings)
    }

    /// With no more files than so many, at the start and ever.
    fn start_with_files(dir: &Path, files: u32, settings: &[(&str, &str)]) -> Self {
        let program = renewd(dir);
        let mut command = Command::new("/bin/sh");
        let limited = format!("ulimit -n {files}; exec \"$0\"");
        command.arg("-c").arg(limited).arg(program.get_program());
        command.current_dir(dir).env_clear();
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Self::run(command, settings)
    }

    fn run(mut command: Command, settings: &[(&str, &str)]) -> Self {
        let mut child = command
            .envs(settings.iter().copied())
            .env("RENEWD_LISTEN", "127.0.0.1:0")
            .env("RENEWD_METRICS_LISTEN", "127.0.0.1:0")
            .env("RENEWD_ROOT_KEY", ROOT_KEY)
            .env("RENEWD_LOG", "trace")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = lines
            .find_map(|line| Some(line.unwrap().split_once(" serves ")?.1.to_owned()))
            .unwrap();
        Self { child, url, stderr }
    }

    pub fn post(&self, path: &str, key: &str, body: &Value) -> (u16, Value) {
        self.call("POST", path, key, Some(body))
    }

    pub fn call(&self, method: &str, path: &str, key: &str, body: Option<&Value>) -> (u16, Value) {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .build()
            .into();
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("authorization", key);
        let response = match body {
            Some(body) => {
                let request = request.header("content-type", "application/json");
                agent.run(request.body(body.to_string()).unwrap())
            }
            None => agent.run(request.body(()).unwrap()),
        };
        let mut response = response.unwrap();
        let body = response.body_mut().read_json().unwrap();
        (response.status().as_u16(), body)
    }

    /// Milliseconds of CPU time that it has used.
    fn cpu_millis(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // The name of the program is in parentheses, and may hold spaces.
        let fields: Vec<_> = stat
            .rsplit_once(')')
            .unwrap()
            .1
            .split_whitespace()
            .collect();
        let ticks = |index: usize| fields[index].parse::<u64>().unwrap();
        // Linux counts in hundredths of a second, whatever the machine.
        (ticks(11) + ticks(12)) * 10
    }

    fn signal(&self, name: &str) {
        signal_to(self.child.id(), name);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already gone when the test ended it itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal_to(process: u32, name: &str) {
    let status = Command::new("sh")
        .args(["-c", &format!("kill -{name} {process}")])
        .status()
        .unwrap();
    assert!(status.success());
}

fn text(body: &Value, name: &str) -> String {
    body[name]
        .as_str()
        .unwrap_or_else(|| panic!("no {name} in {body}"))
        .to_owned()
}

fn renewal(token: &str) -> Value {
    json!({"refresh_token": token, "ip": "2.2.2.2", "useragent": "another-agent"})
}

#[test]
fn acknowledged_renewals_survive_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::start(dir.path());
    let (status, app) = process.post("/root/create", ROOT_KEY, &new_app());
    assert_eq!(status, 200, "{app}");
    let key = text(&app, "app_key");
    let path = |verb: &str| format!("/app/{}/{verb}", app["app_id"].as_str().unwrap());

    let (status, first) = process.post(&path("sign"), &key, &new_session());
    assert_eq!(status, 200, "{first}");
    let mut used = Vec::new();
    let mut token = text(&first, "refresh_token");
    let mut secrets = vec![key.clone(), text(&first, "auth_token")];
    for round in 0..5 {
        for _ in 0..5 {
            let (status, next) = process.post(&path("renew"), &key, &renewal(&token));
            assert_eq!(status, 200, "round {round}: {next}");
            let (_, verified) =
                process.post(&path("verify"), &key, &json!({"token": next["auth_token"]}));
            assert_eq!(verified["verified"], true, "{verified}");
            used.push(std::mem::replace(&mut token, text(&next, "refresh_token")));
        }
        // SIGKILL: nothing is finished, nothing is closed.
        process.child.kill().unwrap();
        process.child.wait().unwrap();
        let mut log = String::new();
        process.stderr.read_to_string(&mut log).unwrap();
        secrets.push(token.clone());
        for secret in secrets.iter().chain(&used) {
            assert!(!log.contains(secret.as_str()), "a secret is in the log");
        }
        assert!(log.contains("request"), "there is a log");
        process = Process::start(dir.path());
    }

    let (status, refused) = process.post(&path("renew"), &key, &renewal(&used[7]));
    assert_eq!(
        (status, &refused["code"]),
        (400, &json!("refresh_token_used")),
        "{refused}"
    );
    let (status, refused) = process.post(&path("renew"), &key, &renewal(&token));
    assert_eq!(
        (status, &refused["code"]),
        (400, &json!("refresh_token_revoked")),
        "{refused}"
    );
}

/// The request under way is answered, the store is closed, and the exit is a success.
#[test]
fn a_termination_finishes_what_is_under_way() {
    for signal in ["TERM", "INT"] {
        let dir = tempfile::tempdir().unwrap();
        let mut process = Process::start(dir.path());
        let body = new_app().to_string();
        let address = process.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        write!(
            stream,
            "POST /root/create HTTP/1.1\r\nhost: x\r\nauthorization: {ROOT_KEY}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
            body.len()
        )
        .unwrap();
        // The server asks for the body: the request is under way.
        let mut answer = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        answer.read_line(&mut line).unwrap();
        assert_eq!(line, "HTTP/1.1 100 Continue\r\n");

        process.signal(signal);
        let mut not_yet = |line: &mut String| {
            line.clear();
            process.stderr.read_line(line).unwrap() > 0 && !line.contains("stopping")
        };
        while not_yet(&mut line) {}
        stream.write_all(body.as_bytes()).unwrap();
        let mut rest = String::new();
        answer.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("HTTP/1.1 200 OK"), "{rest}");
        assert!(rest.contains("\"app_key\":\"rnw_sk_"), "{rest}");
        assert!(process.child.wait().unwrap().success());
        // Closed properly: the log of the store was folded into it.
        assert!(!dir.path().join("data/renewd.db-wal").exists());
    }
}

/// What is still under way is cut off when the time of the settings is over, or by a second signal at once.
#[test]
fn a_stop_has_an_end() {
    for (timeout, signals, limit) in [("1", 1, 4), ("20", 2, 3)] {
        let dir = tempfile::tempdir().unwrap();
        let settings = [("RENEWD_SHUTDOWN_TIMEOUT", timeout)];
        let mut process = Process::start_with(dir.path(), &settings);
        let address = process.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        write!(
            stream,
            "POST /root/create HTTP/1.1\r\nhost: x\r\nauthorization: {ROOT_KEY}\r\n\
             content-type: application/json\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n",
        )
        .unwrap();
        let mut line = String::new();
        let mut answer = BufReader::new(stream.try_clone().unwrap());
        answer.read_line(&mut line).unwrap();
        assert_eq!(line, "HTTP/1.1 100 Continue\r\n");

        let told = Instant::now();
        process.signal("TERM");
        while !line.contains("stopping") {
            line.clear();
            assert!(process.stderr.read_line(&mut line).unwrap() > 0);
        }
        for _ in 1..signals {
            process.signal("TERM");
        }
        assert_eq!(process.child.wait().unwrap().code(), Some(1));
        let took = told.elapsed();
        assert!(took < Duration::from_secs(limit), "{signals}: {took:?}");
        let mut rest = String::new();
        process.stderr.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("was cut off"), "{rest}");
    }
}

/// A server that was told to stop says that it is not ready, and serves on for as long as the balancer takes to notice.
#[test]
fn a_termination_is_announced_before_it_is_carried_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::start_with(dir.path(), &[("RENEWD_SHUTDOWN_DELAY", "2")]);
    let get = |path: &str| process.call("GET", path, "", None).0;
    assert_eq!(get("/readyz"), 200);
    process.signal("TERM");
    let told = Instant::now();
    while get("/readyz") != 503 {
        assert!(told.elapsed() < Duration::from_secs(1));
    }
    let (status, app) = process.post("/root/create", ROOT_KEY, &new_app());
    assert_eq!(status, 200, "{app}");
    assert_eq!((get("/livez"), get("/health")), (200, 200));
    assert!(process.child.wait().unwrap().success());
    assert!(told.elapsed() >= Duration::from_secs(2));
}

/// A port that is taken is told, and the store is left alone.
#[test]
fn a_port_that_is_taken_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = renewd(dir.path())
        .args(["--listen", &address])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        message.contains(&format!("cannot listen on {address}")),
        "{message}"
    );
    assert!(!dir.path().join("data").exists());
}

/// Clients that send half a request, more of them than there are files, keep nobody from being served, and cost nothing: by
/// the number of connections that is taken by itself, and also where the settings allow more than there are files for.
#[test]
fn half_sent_requests_keep_nobody_out() {
    for more in [&[][..], &[("RENEWD_MAX_CONNECTIONS", "4000")]] {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = vec![
            ("RENEWD_REQUEST_HEAD_TIMEOUT", "5"),
            // Each line that is written costs CPU time.
            ("RENEWD_LOG", "warn"),
        ];
        settings.extend(more);
        let process = Process::start_with_files(dir.path(), 200, &settings);
        let address = process.url.strip_prefix("http://").unwrap();
        let mut half_sent = Vec::new();
        for _ in 0..230 {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"GET /ping HTTP/1.1\r\n").unwrap();
            half_sent.push(stream);
        }
        let since = Instant::now();
        for path in ["/livez", "/readyz", "/health"] {
            let asked = Instant::now();
            assert_eq!(process.call("GET", path, "", None).0, 200);
            assert!(
                asked.elapsed() < Duration::from_secs(2),
                "{:?}",
                asked.elapsed()
            );
        }
        let (status, app) = process.post("/root/create", ROOT_KEY, &new_app());
        assert_eq!(status, 200, "{app}");

        let before = process.cpu_millis();
        for stream in &mut half_sent {
            stream
                .set_read_timeout(Some(Duration::from_secs(20)))
                .unwrap();
            // Closed or reset: nothing is said.
            assert!(matches!(stream.read(&mut [0; 9]), Ok(0) | Err(_)));
            assert!(since.elapsed() < Duration::from_secs(15));
        }
        let used = process.cpu_millis() - before;
        assert!(used < 1000, "{used} ms of CPU time");
        assert_eq!(process.call("GET", "/livez", "", None).0, 200);
    }
}

/// A supervisor that stops a server which waits for its database sees an orderly end, not a death by a signal.
#[test]
fn a_signal_ends_a_start() {
    let dir = tempfile::tempdir().unwrap();
    // Takes connections, and says nothing.
    let database = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = database.local_addr().unwrap();
    for signal in ["TERM", "INT"] {
        let url = format!("postgres://renewd:secret@{address}/renewd");
        let mut child = renewd(dir.path())
            .env("RENEWD_LISTEN", "127.0.0.1:0")
            .env("RENEWD_DATABASE_URL", url)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let _waiting = database.accept().unwrap();
        signal_to(child.id(), signal);
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}
