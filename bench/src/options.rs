//! What is measured, and how.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;

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

/// What the user of the bench asks for, but for the form of what it prints.
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub struct Options {
    /// Measure the server there, without TLS, by an app that is made for it and deleted again
    #[arg(long, value_name = "URL", conflicts_with = "own")]
    pub(crate) url: Option<String>,
    /// The root key of the server at --url
    #[arg(
        long,
        value_name = "KEY",
        env = "RENEWD_ROOT_KEY",
        hide_env_values = true
    )]
    pub(crate) root_key: Option<String>,
    /// Start a server for the bench, and end it afterwards; this is the default
    ///
    /// Its store is a temporary one, unless --database-url or its environment variable names another; that of the settings
    /// file is left alone.
    #[arg(long = "self")]
    own: bool,
    #[command(flatten)]
    pub(crate) load: Load,
    /// Times to measure
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) runs: u32,
    /// The process of the database server: its CPU time and that of its children is shown, too (Linux)
    #[arg(long, value_name = "PID")]
    pub(crate) database_pid: Option<u32>,
}

/// What is done, and how much of it.
#[derive(Clone, Copy, Debug, Args)]
pub struct Load {
    /// What is measured
    #[arg(long, value_enum, value_name = "OPERATION", default_value_t = Operation::Renew)]
    pub operation: Operation,
    /// Sessions that are begun before, each with about 200 bytes of claims
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub sessions: u32,
    /// Connections, each with a share of the sessions and one request under way at a time
    #[arg(long, value_name = "C", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub connections: u32,
    /// Seconds that are measured
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub seconds: u32,
    /// Operations a second over all connections; without it, as many as can be
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: Option<u32>,
    /// Seconds of the same before, not measured
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=600))]
    pub warm_up: u32,
}

#[derive(Clone, Copy, Debug, Serialize, ValueEnum, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
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
    pub fn warm_up(&self) -> Duration {
        Duration::from_secs(u64::from(self.warm_up))
    }

    pub fn window(&self) -> Duration {
        Duration::from_secs(u64::from(self.seconds))
    }
}

impl Operation {
    /// What of it is counted: many, and one.
    pub fn nouns(self) -> [&'static str; 2] {
        match self {
            Self::Renew => ["renewals", "renewal"],
            Self::Sign => ["sessions", "session"],
            Self::Verify => ["verdicts", "verdict"],
            Self::Forged => ["refusals", "refusal"],
        }
    }

    /// The signatures that it cannot do without.
    pub fn floor(self) -> &'static str {
        match self {
            Self::Renew => "1 verification + 2 signatures",
            Self::Sign => "2 signatures",
            Self::Verify | Self::Forged => "1 verification",
        }
    }
}
