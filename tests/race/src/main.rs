//! Whether renewd keeps its promises on many nodes: it is run, driven, broken, and its answers are checked.

mod check;
mod client;
mod engine;
#[path = "../../faults/mod.rs"]
mod faults;
mod history;
mod load;
mod node;
mod proxy;
mod report;
mod run;
mod tell;
mod trouble;
mod wire;

use std::{io, path::PathBuf, process::ExitCode};

use clap::Parser;
use engine::Engine;

/// Proves that renewd keeps its promises on many nodes, while everything is broken that can be.
///
/// Runs NODES real renewd processes over one database, renews sessions through all of them for MINUTES, and meanwhile
/// kills, freezes and restarts nodes and databases, parts them, cuts connections and loses the answers to commits, and
/// sets clocks wrong. Every request and every answer is recorded, and then checked: no token is renewed twice, no
/// session is lost, no honest client is told of a reuse, nothing renews after a logout, a flush, a reuse or the
/// revocation of its key, every token says what it should, and what is done to one app is not felt by another.
///
/// Prints its figures; ends with 1 when a promise was broken or hardly anything was renewed, with 2 when the run
/// itself did not work. The engines are run by scripts/engines (or by what `RACE_ENGINES` names), and go on running.
#[derive(Clone, Debug, Parser)]
pub struct Options {
    /// What the nodes store their sessions in.
    #[arg(long, value_enum, default_value_t = Engine::Sqlite)]
    engine: Engine,
    /// How many renewd processes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=16))]
    nodes: u16,
    /// For how long things are broken; 0.5 is half a minute.
    #[arg(long, default_value_t = 1.0, value_parser = minutes)]
    minutes: f64,
    /// How many clients at once; seven of them flush an app, revoke keys, end devices and the like; of the
    /// others an eighth race, and an eighth log out.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(16..=4096))]
    clients: u16,
    /// Decides what is broken when; another one each time unless it is given.
    #[arg(long)]
    seed: Option<u64>,
    /// Break nothing: only the clients get in each other's way.
    #[arg(long)]
    unbroken: bool,
    /// The program to run; otherwise the one that is built beside this one.
    #[arg(long, value_name = "PATH")]
    renewd: Option<PathBuf>,
    /// Keep the logs of the nodes even if all is well.
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let result = runtime.and_then(|runtime| runtime.block_on(run::run(options)));
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            say(&format!("race: the run did not work: {error}"));
            ExitCode::from(2)
        }
    }
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.05..=24.0 * 60.0).contains(&minutes) {
        Ok(minutes)
    } else {
        Err("from 0.05 to 1440".to_owned())
    }
}

/// Everything that is printed.
#[expect(clippy::print_stdout, reason = "it is a program for the terminal")]
pub fn say(text: &str) {
    println!("{text}");
    let _ = io::Write::flush(&mut io::stdout());
}
