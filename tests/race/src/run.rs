//! A run from its start to its report.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use rand::{Rng, SeedableRng, rngs::ChaCha8Rng};
use tokio::{
    process::Command,
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep, sleep_until},
};

use crate::{
    Options,
    check::{check, judge},
    client::Client,
    engine::{self, Database},
    faults::Disk,
    history::{History, Recorder, micros},
    load::{Held, Load},
    node::{Node, Program, SKEW},
    proxy::{Cuts, Proxy},
    report, say, tell,
    trouble::{Cluster, Quiet},
};

/// The load goes on for a moment when nothing is broken any more.
const HEALING: Duration = Duration::from_secs(2);
/// For how long one app is changed all the time then.
const CALM: Duration = Duration::from_secs(5);
/// How long the nodes may take to be ready when nothing is broken any more.
const READY: Duration = Duration::from_secs(60);
/// Fewer renewals than this in a second, and nothing is proved.
const HARDLY_ANYTHING: f64 = 5.0;

/// Whether every promise was kept.
///
/// # Errors
/// When the run itself does not work.
pub async fn run(options: Options) -> io::Result<bool> {
    let mut terminate = signal(SignalKind::terminate())?;
    let folder = tempfile::Builder::new().prefix("race-").tempdir()?;
    let renewd = program(&options).await?;
    let database = Database::create(options.engine).await?;
    let seed = options.seed.unwrap_or(u64::from(std::process::id()));
    say(&format!(
        "{} nodes over {} for {} minutes, {} clients, seed {seed}",
        options.nodes,
        options.engine.name(),
        options.minutes,
        options.clients
    ));

    let history = Arc::new(Recorder::start());
    let driven = drive(
        &options,
        seed,
        renewd,
        &database,
        folder.path(),
        history.clone(),
    );
    let driven = tokio::select! {
        driven = driven => driven,
        _ = tokio::signal::ctrl_c() => Err(io::Error::other("interrupted")),
        _ = terminate.recv() => Err(io::Error::other("terminated")),
    };
    // The nodes were killed when `drive` ended, however it did.
    let removed = database.remove().await;
    // What happened until it did not work may say why.
    let cuts = driven.as_ref().copied().unwrap_or_default();
    let history = history.write(std::mem::take);
    let kept = print(&history, cuts, driven.is_ok().then_some(options.minutes));
    if options.keep || !kept {
        say(&format!("the logs are in {}", folder.keep().display()));
    }
    driven?;
    removed.map(|()| kept)
}

/// Starts the nodes, loads and breaks them.
async fn drive(
    options: &Options,
    seed: u64,
    renewd: PathBuf,
    database: &Database,
    folder: &Path,
    history: Arc<Recorder>,
) -> io::Result<Cuts> {
    let mut secret = [0; 32];
    ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut secret);
    let clock = Program::find_clock()?;
    let disk = match options.engine {
        engine::Engine::Sqlite => Some(Disk::of(folder, &folder.join("faults"))?),
        _ => None,
    };
    let environment = disk
        .iter()
        .flat_map(Disk::environment)
        .map(|(name, value)| {
            let mut value = value.to_owned();
            if name == "LD_PRELOAD" {
                value.as_mut_os_string().push(":");
                value.as_mut_os_string().push(&clock);
            }
            (name, value)
        });
    let program = Arc::new(Program {
        disk: environment.collect(),
        renewd,
        root_key: "the-root-key-of-a-race-is-no-secret".to_owned(),
        master_key: BASE64_STANDARD.encode(secret),
        clock,
    });
    let mut cluster = Cluster {
        engine: options.engine,
        database,
        nodes: Vec::new(),
        proxies: Vec::new(),
        history: history.clone(),
        quiet: Quiet::begin(),
        disk,
    };
    history.write(|history| history.skew = micros(SKEW));
    for index in 0..usize::from(options.nodes) {
        let mut through = None;
        if let Some(upstream) = database.upstream(index) {
            let proxy = Proxy::start(upstream).await?;
            through = Some(proxy.address);
            cluster.proxies.push(proxy);
        }
        let url = database.url(index, through, folder);
        let node = Node::new(index, program.clone(), folder, url, history.clone())?;
        // One after another: the first one makes the tables.
        node.start().await?;
        cluster.nodes.push(node);
    }

    let addresses = cluster.nodes.iter().map(Node::address).collect();
    let client = Client::new(addresses, program.root_key.clone(), history.clone());
    let load = Load::prepare(client).await;
    let load = Arc::new(load.ok_or_else(|| io::Error::other("no app can be made"))?);
    let clients = load.start(options.clients.into(), seed);
    let end = Instant::now() + Duration::from_secs_f64(options.minutes * 60.0);
    let progress = tokio::spawn(progress(history.clone()));
    let broken = if options.unbroken {
        sleep_until(end).await;
        Ok(())
    } else {
        cluster.trouble(seed, end, &load).await
    };
    progress.abort();
    broken?;

    be_ready(&load).await?;
    sleep(HEALING).await;
    // What one app's changes cost the others is seen when nothing else does.
    let now = history.now();
    history.write(|history| history.calm_from = Some(now));
    load.calm_down();
    sleep(CALM).await;
    load.stop();
    let held: Vec<Held> = clients.join_all().await.into_iter().flatten().collect();
    let now = history.now();
    history.write(|history| history.quiet_from = Some(now));
    load.renew_all(held).await;
    load.look_at_lost().await;
    load.verify_samples().await;

    for node in &cluster.nodes {
        let log = std::fs::read_to_string(node.log())?;
        if log.contains("panicked at") {
            history.complain(format!("node {} panicked", node.index));
        }
        node.stop().await?;
    }
    let cuts = cluster.proxies.iter().map(Proxy::cuts);
    Ok(cuts.fold(Cuts::default(), Cuts::and))
}

async fn be_ready(load: &Load) -> io::Result<()> {
    let begun = Instant::now();
    for node in 0..load.client.nodes() {
        while !load.client.is_ready(node).await {
            if begun.elapsed() > READY {
                let message = format!("node {node} is not ready {READY:?} after all was healed");
                load.client.history.complain(message);
                return Ok(());
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}

async fn progress(history: Arc<Recorder>) {
    loop {
        sleep(Duration::from_secs(15)).await;
        let (presented, broken) =
            history.write(|history| (history.presentations.len(), history.troubles.len()));
        let now = history.now() / 1_000_000;
        say(&format!(
            "{now} s: {presented} presentations, {broken} troubles"
        ));
    }
}

/// Prints the report of a run of so many minutes, or of one that did not work; whether all is well.
fn print(history: &History, cuts: Cuts, minutes: Option<f64>) -> bool {
    let (violations, judged) = (check(history), judge(history));
    say(&tell::histories(history, &violations));
    for (name, value) in report::figures(history, cuts, judged) {
        say(&format!("{name:>42}  {value}"));
    }
    for (name, value) in report::verdicts(&violations) {
        say(&format!("{name:>42}  {value}"));
    }
    let presented = history.presentations.len();
    let enough = minutes.is_some_and(|minutes| presented as f64 > minutes * 60.0 * HARDLY_ANYTHING);
    say(&match (violations.len(), enough) {
        (0, _) if minutes.is_none() => "\nUNFINISHED: this proves nothing.".to_owned(),
        (0, false) => format!("\nFAILED: only {presented} presentations prove nothing."),
        (0, true) if !judged.is_enough() => "\nFAILED: too little could be judged.".to_owned(),
        (0, true) => "\nKEPT: every promise, in every history.".to_owned(),
        (count, _) => format!("\nBROKEN: {count} violations."),
    });
    violations.is_empty() && enough && judged.is_enough()
}

/// The renewd to run: fresh, when this is run by cargo.
async fn program(options: &Options) -> io::Result<PathBuf> {
    if let Some(path) = &options.renewd {
        return path.canonicalize();
    }
    let own = std::env::current_exe()?;
    let folder = own.parent().unwrap_or(Path::new("."));
    if let Some(cargo) = std::env::var_os("CARGO") {
        let mut build = Command::new(cargo);
        build
            .args(["build", "--quiet", "--package", "renewd", "--bin", "renewd"])
            .arg("--manifest-path")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"))
            .arg("--target-dir")
            .arg(folder.parent().unwrap_or(folder));
        if folder.ends_with("release") {
            build.arg("--release");
        }
        if !build.status().await?.success() {
            return Err(io::Error::other("renewd does not build"));
        }
    }
    folder.join("renewd").canonicalize().map_err(|error| {
        let message = format!("no renewd beside {}: {error}", own.display());
        io::Error::other(message)
    })
}

impl Cuts {
    fn and(self, other: Self) -> Self {
        Self {
            closed: self.closed + other.closed,
            commits: self.commits + other.commits,
            answers: self.answers + other.answers,
            refused: self.refused + other.refused,
            held: self.held + other.held,
        }
    }
}
