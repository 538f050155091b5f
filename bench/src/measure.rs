//! The runs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::sleep};

use crate::{
    client::Client,
    course::Course,
    cpu,
    failure::{Done, During, Failure},
    floor::Floor,
    latency::Latency,
    options::Load,
    progress::Progress,
    report::grouped,
    run::Run,
};

/// Whose CPU time is read.
#[derive(Debug)]
pub struct Probes {
    server: Option<u32>,
    database: Option<u32>,
}

/// CPU times at one moment.
struct Spent {
    server: Option<Duration>,
    database: Option<Duration>,
}

impl Probes {
    /// Of the database, by its process id.
    ///
    /// # Errors
    /// When its CPU time cannot be read.
    pub fn new(database: Option<u32>) -> Done<Self> {
        if let Some(pid) = database
            && cpu::of_family(pid).is_none()
        {
            return Err(Failure::of(format!(
                "--database-pid: there is no process {pid} whose CPU time can be read"
            )));
        }
        Ok(Self {
            server: None,
            database,
        })
    }

    /// And of this server.
    pub fn with_server(&self, pid: u32) -> Self {
        Self {
            server: Some(pid),
            database: self.database,
        }
    }

    fn read(&self) -> Spent {
        Spent {
            server: self.server.and_then(cpu::of_process),
            database: self.database.and_then(cpu::of_family),
        }
    }
}

/// Begins the sessions, which the clients share.
pub async fn begin_sessions(
    clients: Vec<Client>,
    load: &Load,
    progress: &Progress,
) -> Done<Vec<Client>> {
    let (total, step) = (load.sessions, clients.len());
    let begun = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for (first, mut client) in clients.into_iter().enumerate() {
        let begun = begun.clone();
        tasks.spawn(async move {
            for number in (first..total as usize).step_by(step) {
                client.begin_session(format!("bench-user-{number}")).await?;
                begun.fetch_add(1, Ordering::Relaxed);
            }
            Ok(client)
        });
    }
    let line = |count, _| format!("beginning sessions: {count} of {total}");
    progress.watch(&begun, line, join(tasks)).await
}

/// Measures once.
pub async fn run(
    clients: Vec<Client>,
    load: &Load,
    floor: &Floor,
    probes: &Probes,
    progress: &Progress,
) -> Done<(Vec<Client>, Run)> {
    let floor_before = floor.measure().await?;
    let course = Course::new(load.rate);
    let mut tasks = JoinSet::new();
    for client in clients {
        tasks.spawn(client.run(load.operation, course.clone()));
    }
    let begin = Instant::now();
    let seconds = load.warm_up + load.seconds;
    let line = |_, rate| {
        let second = begin.elapsed().as_secs().min(u64::from(seconds));
        format!("{second} s of {seconds} s: {} a second", grouped(rate))
    };
    let work = async {
        let window = tokio::select! {
            window = window(load, &course, probes) => window,
            failure = first_failure(&mut tasks) => return Err(failure),
        };
        Ok((window, join(tasks).await?))
    };
    let (window, mut clients) = progress.watch(&course.answered, line, work).await?;
    let floor_after = floor.measure().await?;

    let mut latencies = Vec::new();
    let (mut unavailable, mut verified) = (0, 0);
    for client in &mut clients {
        let measured = std::mem::take(&mut client.measured);
        latencies.extend(measured.latencies);
        unavailable += measured.unavailable;
        for sample in measured.samples {
            sample.verify()?;
            verified += 1;
        }
    }
    let operations = latencies.len() as u64;
    if operations == 0 {
        return Err(Failure::of("nothing was answered while it was measured"));
    }
    let operations_waiting = window.waiting.len() as u64;
    // They have waited that long at least: without them a server that stands still would look fast.
    latencies.extend(window.waiting);
    let floor_us = f64::midpoint(floor_before, floor_after);
    let per_operation = |before: Option<Duration>, after: Option<Duration>| {
        Some((after? - before?).as_secs_f64() * 1e6 / operations as f64)
    };
    let (before, after) = (window.before, window.after);
    let server_cpu = per_operation(before.server, after.server);
    let run = Run {
        operations,
        operations_per_second: round(operations as f64 / window.length.as_secs_f64()),
        operations_waiting,
        unavailable,
        latency_ms: Latency::of(latencies),
        server_cpu_us_per_operation: server_cpu.map(round),
        database_cpu_us_per_operation: per_operation(before.database, after.database).map(round),
        floor_us: round(floor_us),
        ratio: server_cpu.map(|cpu| round(cpu / floor_us)),
        tokens_verified: verified,
    };
    Ok((clients, run))
}

struct Window {
    length: Duration,
    /// µs for which operations have waited that were due and not begun.
    waiting: Vec<u32>,
    before: Spent,
    after: Spent,
}

async fn window(load: &Load, course: &Course, probes: &Probes) -> Window {
    sleep(load.warm_up()).await;
    let before = probes.read();
    course.open_window();
    let begin = Instant::now();
    sleep(load.window()).await;
    let length = begin.elapsed();
    let waiting = course.end();
    Window {
        length,
        waiting,
        before,
        after: probes.read(),
    }
}

/// Why the first client went that did not wait for the end.
async fn first_failure(tasks: &mut JoinSet<Done<Client>>) -> Failure {
    while let Some(client) = tasks.join_next().await {
        match client.during("run a client") {
            Ok(Ok(_)) => {}
            Ok(Err(failure)) | Err(failure) => return failure,
        }
    }
    Failure::of("the clients ended before the window did")
}

async fn join(mut tasks: JoinSet<Done<Client>>) -> Done<Vec<Client>> {
    let mut clients = Vec::with_capacity(tasks.len());
    while let Some(client) = tasks.join_next().await {
        clients.push(client.during("run a client")??);
    }
    Ok(clients)
}

/// To three decimals: more are noise.
fn round(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}
