//! Parses the command line, starts the log, and hands over.

use std::{io::IsTerminal, process::ExitCode};

use renewd::{
    cli::{self, Cli},
    config::{Config, LogFormat, LogLevel},
};
use tracing_subscriber::{
    Layer, filter::LevelFilter, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt,
};

/// A request allocates a lot, and what it allocates is freed on other threads: the system's allocator took a fifth of the CPU.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match start(Cli::read()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::complain(&*error);
            ExitCode::FAILURE
        }
    }
}

fn start(cli: Cli) -> Result<(), Box<dyn std::error::Error>> {
    let config = cli.config()?;
    log(&config);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(cli::run(cli, config));
    // What still hangs, a name that is looked up for instance, does not keep the process.
    runtime.shutdown_background();
    done
}

/// The log goes to the standard error. Libraries are heard from `warn` on only: at lower levels some print
/// what they carry, and no token, key or personal claim may ever stand in a log.
fn log(config: &Config) {
    let level = match config.log {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let filter = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        // It warns of parameters of the store's URL that it does not know, with their values.
        .with_target("sqlx_postgres::options::parse", LevelFilter::OFF)
        .with_target("renewd", level);
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let layer = match config.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .init();
}
