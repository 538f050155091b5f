//! How soon the server is ready on an existing store, and how much memory it holds when idle:
//! `cargo bench --bench footprint`. Linux only: the memory is read from /proc.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const RUNS: usize = 11;

fn main() -> Outcome<()> {
    let dir = tempfile::tempdir()?;
    // The first start makes the store and the keys; the app gives it something to read.
    let mut create = renewd(dir.path());
    create
        .args(["app", "create", "footprint"])
        .stderr(Stdio::null());
    if !create.stdout(Stdio::null()).status()?.success() {
        return Err("cannot make the store".into());
    }

    let (mut ready, mut resident) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let started = Instant::now();
        let (mut server, url) = start(dir.path())?;
        ureq::get(format!("{url}/readyz")).call()?;
        ready.push(started.elapsed());
        // What a start leaves behind settles.
        std::thread::sleep(Duration::from_millis(200));
        resident.push(resident_kilobytes(server.id())?);
        server.kill()?;
        server.wait()?;
    }
    ready.sort();
    resident.sort_unstable();
    #[expect(clippy::print_stdout, reason = "the result of a benchmark")]
    {
        let (fastest, middle, slowest) = (ready[0], ready[RUNS / 2], ready[RUNS - 1]);
        println!(
            "ready after start: median {middle:.1?} (fastest {fastest:.1?}, slowest {slowest:.1?})"
        );
        println!("idle, resident:    median {} kB", resident[RUNS / 2]);
    }
    Ok(())
}

fn renewd(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_renewd"));
    command
        .current_dir(dir)
        .env_clear()
        .env("RENEWD_LISTEN", "127.0.0.1:0")
        .env("RENEWD_METRICS_LISTEN", "127.0.0.1:0");
    command
}

fn start(dir: &Path) -> Outcome<(Child, String)> {
    let mut server = renewd(dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let stdout = server.stdout.take().ok_or("no output")?;
    for line in BufReader::new(stdout).lines() {
        if let Some((_, url)) = line?.split_once(" serves ") {
            return Ok((server, url.to_owned()));
        }
    }
    Err("the server ended".into())
}

fn resident_kilobytes(process: u32) -> Outcome<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kilobytes.ok_or("no VmRSS")?.parse()?)
}
