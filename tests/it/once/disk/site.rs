//! The real program on a disk that fails on command, and what its clients were told.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    cli::renewd,
    faults::{Disk, Loss},
    support::{ROOT_KEY, new_app, new_session},
};

/// How long an operation waits for the store here.
const TIMEOUT_MS: &str = "1500";

pub struct Site {
    server: Option<Server>,
    pub disk: Disk,
    _mounted: Option<Mounted>,
    dir: tempfile::TempDir,
}

/// A file system, until it is dropped.
struct Mounted(PathBuf);

struct Server {
    child: Child,
    url: String,
}

/// An answer of the server.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
    retry_after: Option<String>,
}

impl Site {
    pub fn start() -> Self {
        Self::start_on(|_| None)
    }

    /// On a file system of its own, of this many bytes.
    pub fn start_mounted(bytes: u64) -> Self {
        Self::start_on(|data| {
            fs::create_dir(data).unwrap();
            let mounted = Command::new("mount")
                .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "renewd-test"])
                .arg(data)
                .status()
                .unwrap();
            assert!(mounted.success());
            Some(Mounted(data.to_owned()))
        })
    }

    /// With nothing made yet.
    pub fn not_started() -> Self {
        Self::prepare(|_| None)
    }

    fn start_on(mount: impl FnOnce(&Path) -> Option<Mounted>) -> Self {
        let mut site = Self::prepare(mount);
        site.restart();
        site
    }

    fn prepare(mount: impl FnOnce(&Path) -> Option<Mounted>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mounted = mount(&dir.path().join("data"));
        let disk = Disk::of(&dir.path().join("data"), &dir.path().join("faults")).unwrap();
        Self {
            server: None,
            disk,
            _mounted: mounted,
            dir,
        }
    }

    /// Starts the server, which is not running.
    pub fn restart(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .unwrap();
        let mut child = self
            .command()
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = lines.find_map(|line| Some(line.unwrap().split_once(" serves ")?.1.to_owned()));
        let url = url.unwrap_or_else(|| panic!("it does not start: {}", self.said()));
        self.server = Some(Server { child, url });
    }

    /// The program, on this disk.
    pub fn command(&self) -> Command {
        let mut command = renewd(self.dir.path());
        command
            .env_remove("RENEWD_DATABASE_URL")
            .env("RENEWD_LISTEN", "127.0.0.1:0")
            .env("RENEWD_METRICS_LISTEN", "off")
            .env("RENEWD_ROOT_KEY", ROOT_KEY)
            .env("RENEWD_DATABASE_TIMEOUT_MS", TIMEOUT_MS)
            .env("RENEWD_LOG", "warn")
            .envs(self.disk.environment());
        command
    }

    /// SIGKILL: nothing is finished, nothing is closed.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// Cuts the power of the machine, and starts it again. Gives how much was lost.
    pub fn lose_power(&mut self, loss: Loss) -> u64 {
        self.kill();
        let lost = self.disk.lose_power(loss).unwrap();
        self.restart();
        lost
    }

    /// The folder of the store.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// What the server has logged.
    pub fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap()
    }

    pub fn client(&self) -> Client {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(10)))
            .build();
        Client {
            url: self.server.as_ref().unwrap().url.clone(),
            agent: agent.into(),
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Nothing is in use there any more; if it is, the mount goes with the machine.
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone when a test has ended it itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A caller with a connection of its own.
pub struct Client {
    url: String,
    agent: ureq::Agent,
}

impl Client {
    /// `None` when the server went away.
    pub fn call(
        &self,
        method: &str,
        path: &str,
        key: &str,
        body: Option<&Value>,
    ) -> Option<Answer> {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("authorization", key)
            .header("content-type", "application/json");
        let mut response = match body {
            Some(body) => self.agent.run(request.body(body.to_string()).unwrap()),
            None => self.agent.run(request.body(()).unwrap()),
        }
        .ok()?;
        let text = response.body_mut().read_to_string().ok()?;
        let retry_after = response.headers().get("retry-after");
        let answer = Answer {
            status: response.status().as_u16(),
            body: serde_json::from_str(&text).unwrap_or_default(),
            retry_after: retry_after.map(|value| value.to_str().unwrap().to_owned()),
        };
        if answer.status == 503 {
            // When to come back.
            let seconds: u64 = answer.retry_after.as_deref().unwrap().parse().unwrap();
            assert!((1..=10).contains(&seconds), "{answer:?}");
        }
        Some(answer)
    }

    pub fn post(&self, path: &str, key: &str, body: &Value) -> Option<Answer> {
        self.call("POST", path, key, Some(body))
    }

    pub fn get(&self, path: &str, key: &str) -> Option<Answer> {
        self.call("GET", path, key, None)
    }

    pub fn is_ready(&self) -> bool {
        self.get("/readyz", "")
            .is_some_and(|answer| answer.status == 200)
    }
}

/// Asks until it is so, for at most this long.
#[track_caller]
pub fn within(seconds: u64, what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        let waited = begun.elapsed();
        assert!(
            waited < Duration::from_secs(seconds),
            "{what}: not after {waited:?}"
        );
        thread::sleep(Duration::from_millis(50));
    }
}

/// An app, and all that its clients were told to be done.
#[derive(Debug)]
pub struct Told {
    app_id: String,
    key: String,
    /// The refresh tokens that clients hold.
    pub live: Vec<String>,
    /// Refresh tokens whose sessions were signed out.
    ended: Vec<String>,
    keys: Vec<(String, String)>,
    revoked: Vec<String>,
    apps: Vec<(String, String)>,
    /// Requests that were answered 503.
    pub refused: u64,
    /// Whether a request had no answer: the server is no more, and nothing is asked of it.
    gone: bool,
}

impl Told {
    /// By a new app.
    pub fn new(client: &Client) -> Self {
        let made = client.post("/root/create", ROOT_KEY, &new_app()).unwrap();
        assert_eq!(made.status, 200, "{made:?}");
        Self {
            app_id: made.text("app_id"),
            key: made.text("app_key"),
            live: Vec::new(),
            ended: Vec::new(),
            keys: Vec::new(),
            revoked: Vec::new(),
            apps: Vec::new(),
            refused: 0,
            gone: false,
        }
    }

    fn path(&self, rest: &str) -> String {
        format!("/app/{}/{rest}", self.app_id)
    }

    /// The answer when it is a success; anything but 200 and 503 is wrong.
    fn done(&mut self, answer: Option<Answer>) -> Option<Answer> {
        self.gone |= answer.is_none();
        let answer = answer?;
        self.refused += u64::from(answer.status == 503);
        assert!([200, 204, 503].contains(&answer.status), "{answer:?}");
        (answer.status != 503).then_some(answer)
    }

    /// Does a little of everything.
    pub fn work(&mut self, client: &Client, round: usize) {
        if self.gone {
            return;
        }
        self.sign(client);
        for index in 0..self.live.len().min(4) {
            if !self.gone {
                self.renew(client, (round + index * 7) % self.live.len());
            }
        }
        if self.gone {
            return;
        }
        match round % 4 {
            0 => self.log_out(client, round),
            1 => self.make_key(client),
            2 => self.revoke_key(client),
            _ => {
                self.try_to_make_an_app(client);
            }
        }
    }

    pub fn sign(&mut self, client: &Client) {
        let signed = client.post(&self.path("sign"), &self.key, &new_session());
        if let Some(signed) = self.done(signed) {
            self.live.push(signed.text("refresh_token"));
        }
    }

    /// Begins a session of many claims, which nobody renews.
    pub fn sign_much(&mut self, client: &Client) {
        let mut session = new_session();
        session["personal"] = json!({"much": "much ".repeat(3_000)});
        let signed = client.post(&self.path("sign"), &self.key, &session);
        assert!(self.done(signed).is_some());
    }

    /// Who is told to come back still has a token that renews; who was told nothing does not know.
    fn renew(&mut self, client: &Client, index: usize) {
        let answer = client.post(&self.path("renew"), &self.key, &renewal(&self.live[index]));
        match answer {
            None => {
                self.gone = true;
                self.live.swap_remove(index);
            }
            answer => {
                if let Some(renewed) = self.done(answer) {
                    self.live[index] = renewed.text("refresh_token");
                }
            }
        }
    }

    fn log_out(&mut self, client: &Client, round: usize) {
        if self.live.is_empty() {
            return;
        }
        let token = self.live.swap_remove(round % self.live.len());
        let body = json!({"token": token});
        let answer = client.post(&self.path("logout"), &self.key, &body);
        if self.done(answer).is_some() {
            self.ended.push(token);
        }
    }

    fn make_key(&mut self, client: &Client) {
        let path = format!("/root/{}/keys", self.app_id);
        let body = json!({"kind": "secret", "name": "further"});
        let answer = client.post(&path, ROOT_KEY, &body);
        if let Some(made) = self.done(answer) {
            self.keys.push((made.text("id"), made.text("app_key")));
        }
    }

    fn revoke_key(&mut self, client: &Client) {
        let Some((id, key)) = self.keys.pop() else {
            return;
        };
        let path = format!("/root/{}/keys/{id}", self.app_id);
        let answer = client.call("DELETE", &path, ROOT_KEY, None);
        if self.done(answer).is_some() {
            self.revoked.push(key);
        }
    }

    /// The status of the answer.
    pub fn try_to_make_an_app(&mut self, client: &Client) -> u16 {
        let answer = client.post("/root/create", ROOT_KEY, &new_app());
        let status = answer.as_ref().map_or(0, |answer| answer.status);
        if let Some(made) = self.done(answer) {
            self.apps.push((made.text("app_id"), made.text("app_key")));
        }
        status
    }

    /// All that was told is so.
    #[track_caller]
    pub fn check(&mut self, client: &Client) {
        self.gone = false;
        for token in &mut self.live {
            let path = format!("/app/{}/renew", self.app_id);
            let renewed = client.post(&path, &self.key, &renewal(token)).unwrap();
            assert_eq!(renewed.status, 200, "a session is lost: {renewed:?}");
            *token = renewed.text("refresh_token");
        }
        for token in &self.ended {
            let answer = client.post(&self.path("renew"), &self.key, &renewal(token));
            let answer = answer.unwrap();
            let code = &answer.body["code"];
            assert_eq!(
                code, "refresh_token_revoked",
                "a logout is lost: {answer:?}"
            );
        }
        for (_, key) in &self.keys {
            let answer = client.get(&self.path("pub-keys"), key).unwrap();
            assert_eq!(answer.status, 200, "an app-key is lost: {answer:?}");
        }
        for key in &self.revoked {
            let answer = client.get(&self.path("pub-keys"), key).unwrap();
            assert_eq!(answer.status, 403, "a revocation is lost: {answer:?}");
        }
        for (id, key) in &self.apps {
            let answer = client.post(&format!("/app/{id}/sign"), key, &new_session());
            let answer = answer.unwrap();
            assert_eq!(answer.status, 200, "an app is lost: {answer:?}");
        }
    }
}

fn renewal(token: &str) -> Value {
    json!({"refresh_token": token, "ip": "2.2.2.2", "useragent": "another-agent"})
}

impl Answer {
    fn text(&self, name: &str) -> String {
        let text = self.body[name].as_str();
        text.unwrap_or_else(|| panic!("no {name}: {self:?}"))
            .to_owned()
    }
}
