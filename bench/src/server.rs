//! The server of the bench: a process of its own, so that its CPU time is told apart from that of the clients.

use std::{
    fmt,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::failure::{Done, During, Failure};

/// How long it may take to finish what it does; then it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// The server that the bench starts for itself, and ends.
pub struct OwnServer {
    /// Starts it: it reads its settings from its standard input, and prints a line ` serves <URL>` when it serves.
    pub command: Command,
    /// Its settings, which no process list and no file shows.
    pub settings: String,
    /// What and where its store is, as the user is told.
    pub store: String,
}

/// A running server, which ends with this value.
pub struct Server {
    process: Process,
    pub url: String,
    /// A server that cannot print is in trouble.
    _stdout: Lines,
}

struct Process(Child);

type Lines = BufReader<ChildStdout>;

impl fmt::Debug for OwnServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnServer({})", self.store)
    }
}

impl Server {
    /// Starts it, and waits until it serves. What it complains of goes to the standard error.
    ///
    /// # Errors
    /// When it cannot be started, or ends before it serves.
    pub async fn start(mut own: OwnServer) -> Done<Self> {
        let what = "start a server";
        own.command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A group of its own: Ctrl-C is for the bench, which ends the server when it has tidied up.
            .process_group(0);
        let mut child = own.command.spawn().during(what)?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        // From here on it ends with this value, also when the bench is interrupted while it waits.
        let process = Process(child);
        let (Some(mut input), Some(output)) = (input, output) else {
            return Err(Failure::of("cannot talk to the server that was started"));
        };
        input.write_all(own.settings.as_bytes()).during(what)?;
        drop(input);
        let listening = tokio::task::spawn_blocking(|| listen(BufReader::new(output)));
        let (stdout, url) = listening.await.during(what)?;
        let ended = "the server that was started for the bench ended before it served; its reason stands above";
        Ok(Self {
            process,
            url: url.ok_or_else(|| Failure::of(ended))?,
            _stdout: stdout,
        })
    }

    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }
}

/// Where it serves, as it says; `None` when it ends.
fn listen(mut stdout: Lines) -> (Lines, Option<String>) {
    let mut line = String::new();
    while stdout.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
        if let Some((_, url)) = line.split_once(" serves ") {
            let url = url.trim().to_owned();
            return (stdout, Some(url));
        }
        line.clear();
    }
    (stdout, None)
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; then there is nobody to tell.
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let asked = Instant::now();
        while asked.elapsed() < GRACE {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
