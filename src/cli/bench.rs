//! `renewd bench`

mod app;
mod check;
mod client;
mod connection;
mod course;
mod cpu;
mod failure;
mod floor;
mod latency;
mod measure;
mod progress;
mod report;
mod server;
mod subject;
mod summary;
mod token;
mod wire;

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;

use self::{
    app::{BenchApp, Place},
    client::Client,
    connection::Address,
    failure::{Done, Failure},
    floor::Floor,
    measure::Probes,
    progress::Progress,
    report::Report,
    server::Server,
    subject::Subject,
};
use super::{Outcome, print::Format, serve::stop_signal};
use crate::config::Config;

/// Of the answers, so many in a hundred may be 503.
const TOLERATED_UNAVAILABLE_PERCENT: u64 = 1;

const HELP: &str = "\
What it prints:
  rate          operations that were answered, a second
  latency       of one operation; with --rate counted from the moment when it was due, so that the time that it
                waited for a connection is in it
  server CPU    user and system time of the server's process for one operation (Linux, without --url)
  floor         CPU time of the signatures alone, which no server can do without: measured in the same run, just
                before and just after, on one thread and with nothing else around them
  ratio         server CPU / floor: 1 would be a server that does nothing but sign. It depends on the machine far
                less than the rate does
Of several runs (--runs) the figures that count are the medians.

Client and server share this machine, unless you measure one elsewhere by --url: the rate is what both reach
together, and the server CPU is the server's alone. Every answer is checked while it goes; a wrong one ends the
bench with an error, and so do more than 1 % of 503s.

Examples:
  renewd bench                                          a server of its own, on SQLite in a temporary folder
  renewd bench --database-url postgres://…              a server of its own, on that database
  renewd bench --rate 2000 --seconds 30                 the latency at 2000 renewals a second
  RENEWD_ROOT_KEY=… renewd bench --url http://10.0.0.5:2025";

#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub struct Command {
    /// Measure the server there, without TLS, by an app that is made for it and deleted again
    #[arg(long, value_name = "URL", conflicts_with = "own")]
    url: Option<String>,
    /// The root key of the server at --url
    #[arg(
        long,
        value_name = "KEY",
        env = "RENEWD_ROOT_KEY",
        hide_env_values = true
    )]
    root_key: Option<String>,
    /// Start a server for the bench, and end it afterwards; this is the default
    ///
    /// Its store is a temporary one, unless --database-url or its environment variable names another; that of the settings
    /// file is left alone.
    #[arg(long = "self")]
    own: bool,
    #[command(flatten)]
    load: Load,
    /// Times to measure
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// The process of the database server: its CPU time and that of its children is shown, too (Linux)
    #[arg(long, value_name = "PID")]
    database_pid: Option<u32>,
    #[command(flatten)]
    format: Format,
}

/// What is done, and how much of it.
#[derive(Clone, Copy, Debug, Args)]
struct Load {
    /// What is measured
    #[arg(long, value_enum, value_name = "OPERATION", default_value_t = Operation::Renew)]
    operation: Operation,
    /// Sessions that are begun before, each with about 200 bytes of claims
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    sessions: u32,
    /// Connections, each with a share of the sessions and one request under way at a time
    #[arg(long, value_name = "C", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// Seconds that are measured
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Operations a second over all connections; without it, as many as can be
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// Seconds of the same before, not measured
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=600))]
    warm_up: u32,
}

#[derive(Clone, Copy, Debug, Serialize, ValueEnum, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Operation {
    /// Renew sessions
    Renew,
    /// Begin sessions
    Sign,
    /// Ask the server whether auth tokens are good
    Verify,
    /// Present refresh tokens that are made up from auth tokens, and see them refused
    Forged,
}

impl Load {
    fn warm_up(&self) -> Duration {
        Duration::from_secs(u64::from(self.warm_up))
    }

    fn window(&self) -> Duration {
        Duration::from_secs(u64::from(self.seconds))
    }
}

/// Measures. `has_store`: the user named the store, which is in `config`, and did so for this command.
pub async fn run(command: Command, config: Config, has_store: bool) -> Outcome {
    if command.load.sessions < command.load.connections {
        return Err(
            "--sessions must be at least --connections: each connection has sessions of its own"
                .into(),
        );
    }
    let probes = Probes::new(command.database_pid)?;
    // From here on a signal ends the bench by way of what tidies up.
    let stop = stop_signal()?;
    let place = match &command.url {
        Some(url) => Place::at(url, command.root_key.as_deref())?,
        None => Place::own(config, has_store)?,
    };
    let app = place.create_app().await?;
    let done = tokio::select! {
        done = measure(&command, &probes, &place, &app) => done,
        () = stop => Err(Failure::of("interrupted")),
    };
    let deleted = place.delete_app(&app).await;
    done?;
    Ok(deleted?)
}

async fn measure(command: &Command, probes: &Probes, place: &Place, app: &BenchApp) -> Done {
    let server = match place {
        Place::Own(store) => Some(Server::start(store).await?),
        Place::At { .. } => None,
    };
    let address = match (&server, place) {
        (Some(server), _) => Address::parse(&server.url)?,
        (None, Place::At { address, .. }) => address.clone(),
        (None, Place::Own(_)) => return Err(Failure::of("the server was not started")),
    };
    let probes = probes.with_server(server.as_ref().map(Server::pid));
    let load = &command.load;
    let mut report = Report::new(Subject::new(place), load, command.format);
    report.begin()?;

    let progress = Progress::new();
    let mut clients = Client::connect(&address, app, load).await?;
    clients = measure::begin_sessions(clients, load, &progress).await?;
    let floor = Floor::new(load.operation, &clients)?;
    for number in 1..=command.runs {
        progress.name_run(number, command.runs);
        let run;
        (clients, run) = measure::run(clients, load, &floor, &probes, &progress).await?;
        report.add(run, command.runs)?;
    }
    let refused = check::used_tokens(&mut clients).await?;
    report.end(refused)?;
    report.tolerate_unavailable(TOLERATED_UNAVAILABLE_PERCENT)
}
