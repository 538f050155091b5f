//! A renewd process, and its death.

use std::{
    fs::OpenOptions,
    io,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::{Mutex, MutexGuard, watch},
    time::{Instant, sleep, timeout},
};

use crate::history::Recorder;

/// How long a node may take to serve, its attempts with a database that is down included.
const START: Duration = Duration::from_secs(60);
/// How long a node may take to stop in an orderly way: it drains for 10 seconds.
const STOP: Duration = Duration::from_secs(20);

const MUTANT: &str = "RENEWD_TEST_MUTANT";

/// By how much the clock of each node is off, in seconds, in turn.
const OFF_BY: [i64; 3] = [0, 2, -2];
/// The most by which two of them differ.
pub const SKEW: Duration = Duration::from_secs(4);

/// What all nodes have in common.
#[derive(Debug)]
pub struct Program {
    pub renewd: PathBuf,
    pub root_key: String,
    /// 32 bytes in base64.
    pub master_key: String,
    /// What is loaded into it before the C library, and tells it the time.
    pub clock: PathBuf,
    /// What makes its disk fail, with the clock in `LD_PRELOAD`.
    pub disk: Vec<(&'static str, PathBuf)>,
}

#[derive(Debug)]
pub struct Node {
    pub index: usize,
    program: Arc<Program>,
    folder: PathBuf,
    database_url: String,
    address: watch::Sender<Arc<str>>,
    child: Mutex<Option<Child>>,
    turn: Mutex<()>,
    history: Arc<Recorder>,
}

impl Program {
    /// Where Debian's package libfaketime has what a process loads.
    pub fn find_clock() -> io::Result<PathBuf> {
        const IN_IT: &str = "faketime/libfaketimeMT.so.1";
        let folders = std::fs::read_dir("/usr/lib")?.filter_map(Result::ok);
        let mut places = folders.map(|folder| folder.path().join(IN_IT));
        places.find(|place| place.exists()).ok_or_else(|| {
            io::Error::other(format!(
                "no /usr/lib/*/{IN_IT}: install the package faketime"
            ))
        })
    }
}

impl Node {
    pub fn new(
        index: usize,
        program: Arc<Program>,
        run: &Path,
        database_url: String,
        history: Arc<Recorder>,
    ) -> io::Result<Self> {
        let folder = run.join(format!("node-{index}"));
        std::fs::create_dir_all(&folder)?;
        let node = Self {
            index,
            program,
            folder,
            database_url,
            address: watch::Sender::new("http://127.0.0.1:1".into()),
            child: Mutex::default(),
            turn: Mutex::default(),
            history,
        };
        node.set_clock(0)?;
        Ok(node)
    }

    /// Whoever stops and starts the node, or sets its clock, waits for the turn.
    pub async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Sets the clock of the node, also while it runs: by so many seconds off what it always is.
    pub fn set_clock(&self, seconds: i64) -> io::Result<()> {
        let seconds = OFF_BY[self.index % OFF_BY.len()] + seconds;
        // Renamed into place: the node reads all of it or nothing.
        let new = self.folder.join("clock.new");
        std::fs::write(&new, format!("{seconds:+}\n"))?;
        std::fs::rename(new, self.clock())
    }

    fn clock(&self) -> PathBuf {
        self.folder.join("clock")
    }

    pub fn address(&self) -> watch::Receiver<Arc<str>> {
        self.address.subscribe()
    }

    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Starts it, again and again until it serves.
    pub async fn start(&self) -> io::Result<()> {
        let mut child = self.child.lock().await;
        let begun = Instant::now();
        while begun.elapsed() < START {
            if let Some(started) = self.attempt().await? {
                *child = Some(started);
                return Ok(());
            }
            sleep(Duration::from_millis(300)).await;
        }
        let (index, log) = (self.index, self.log());
        let message = format!("node {index} does not start, see {}", log.display());
        Err(io::Error::other(message))
    }

    /// `None` when the process ended, or did not serve in time.
    async fn attempt(&self) -> io::Result<Option<Child>> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())?;
        let mut child = Command::new(&self.program.renewd)
            .arg("serve")
            .current_dir(&self.folder)
            .env_clear()
            // How it is broken on purpose (scripts/mutations), if it is a copy that can be.
            .env(MUTANT, std::env::var_os(MUTANT).unwrap_or_default())
            .env("RENEWD_LISTEN", "127.0.0.1:0")
            .env("RENEWD_METRICS_LISTEN", "off")
            .env("RENEWD_DATA_DIR", self.folder.join("data"))
            .env("RENEWD_DATABASE_URL", &self.database_url)
            .env("RENEWD_DATABASE_TIMEOUT_MS", "3000")
            // So that a signing key that is published signs within the run, and devices refresh as often as they like.
            .env("RENEWD_JWKS_MAX_AGE", "1")
            .env("RENEWD_REGISTRATION_REFRESHES_PER_HOUR", "1000000")
            .env("RENEWD_MASTER_KEY", &self.program.master_key)
            .env("RENEWD_ROOT_KEY", &self.program.root_key)
            .env("RENEWD_LEEWAY", (SKEW.as_secs() + 1).to_string())
            .env("LD_PRELOAD", &self.program.clock)
            .envs(self.program.disk.iter().map(|(name, value)| (*name, value)))
            .env("FAKETIME_TIMESTAMP_FILE", self.clock())
            .env("FAKETIME_CACHE_DURATION", "1")
            // What timers go by goes on as it is.
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("RENEWD_LOG", "warn")
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let Some(stdout) = child.stdout.take() else {
            return Ok(None);
        };
        let mut lines = BufReader::new(stdout).lines();
        let served = timeout(START / 4, async {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some((_, address)) = line.split_once(" serves ") {
                    return Some(Arc::from(address.trim()));
                }
            }
            None
        });
        let Some(address) = served.await.ok().flatten() else {
            child.kill().await?;
            return Ok(None);
        };
        // Drained, so that it never writes into a pipe that nobody reads.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        self.address.send_replace(address);
        Ok(Some(child))
    }

    /// SIGKILL: nothing is finished, nothing is closed.
    pub async fn kill(&self) -> io::Result<()> {
        let Some(mut child) = self.take().await? else {
            return Ok(());
        };
        child.kill().await
    }

    /// SIGTERM: what is under way is to be finished, soon.
    pub async fn stop(&self) -> io::Result<()> {
        let Some(mut child) = self.take().await? else {
            return Ok(());
        };
        let Some(id) = child.id() else {
            return Ok(());
        };
        let kill = ["-TERM".to_owned(), id.to_string()];
        Command::new("kill").args(kill).status().await?;
        let index = self.index;
        match timeout(STOP, child.wait()).await {
            Ok(status) => {
                let status = status?;
                if !status.success() {
                    self.history
                        .complain(format!("node {index} stopped, but with {status}"));
                }
                Ok(())
            }
            Err(_) => {
                self.history
                    .complain(format!("node {index} did not stop within {STOP:?}"));
                child.kill().await
            }
        }
    }

    /// The process, which should be running.
    async fn take(&self) -> io::Result<Option<Child>> {
        let Some(mut child) = self.child.lock().await.take() else {
            return Ok(None);
        };
        if let Some(status) = child.try_wait()? {
            let index = self.index;
            self.history
                .complain(format!("node {index} ended by itself: {status}"));
            return Ok(None);
        }
        Ok(Some(child))
    }
}
