//! What the user is shown.

use std::io::{self, Write};

use crate::{
    failure::{Done, During, Failure},
    options::{Load, Operation},
    run::Run,
    subject::Subject,
    summary::Summary,
};

/// All that was measured.
pub struct Report {
    subject: Subject,
    load: Load,
    is_json: bool,
    runs: Vec<Run>,
}

impl Report {
    pub fn new(subject: Subject, load: &Load, is_json: bool) -> Self {
        Self {
            subject,
            load: *load,
            is_json,
            runs: Vec::new(),
        }
    }

    /// Says what is going to be measured.
    pub fn begin(&self) -> Done {
        let Load {
            connections,
            sessions,
            seconds,
            rate,
            ..
        } = self.load;
        let drive = rate.map_or("closed loop".to_owned(), |rate| {
            format!("open loop, {} a second", grouped(u64::from(rate)))
        });
        let place = self.subject.store.as_ref().unwrap_or(&self.subject.server);
        self.tell(&format!(
            "{connections} connections, {sessions} sessions, {seconds} s, {drive}, {place}"
        ))
    }

    /// Takes a run, and shows it.
    pub fn add(&mut self, run: Run, of: u32) -> Done {
        let number = self.runs.len() + 1;
        let [many, one] = self.load.operation.nouns();
        let title = if of > 1 {
            format!("run {number} of {of}\n")
        } else {
            String::new()
        };
        let latency = &run.latency_ms;
        let mut text = format!(
            "{title}{many:<12} {} a second     latency ms: p50 {}  p90 {}  p99 {}  p99.9 {}  max {}\n",
            grouped(run.operations_per_second.round() as u64),
            short(latency.p50),
            short(latency.p90),
            short(latency.p99),
            short(latency.p99_9),
            short(latency.max),
        );
        let floor = format!(
            "floor ({}) {:.1} µs",
            self.load.operation.floor(),
            run.floor_us
        );
        text += &match (run.server_cpu_us_per_operation, run.ratio) {
            (Some(cpu), Some(ratio)) => {
                format!(
                    "{:<12} {cpu:.1} µs a {one}   {floor}   ratio {ratio:.2}",
                    "server CPU"
                )
            }
            _ => format!(
                "{:<12} not known: {}   {floor}",
                "server CPU",
                self.why_unknown()
            ),
        };
        if let Some(cpu) = run.database_cpu_us_per_operation {
            text += &format!("\n{:<12} {cpu:.1} µs a {one}", "database CPU");
        }
        if run.operations_waiting > 0 {
            text += &format!(
                "\n{:<12} {} {many} were due and had not begun at the end; the latencies hold their wait until then",
                "behind",
                grouped(run.operations_waiting),
            );
        }
        if run.unavailable > 0 {
            text += &format!(
                "\n{:<12} {} answers were 503",
                "unavailable",
                grouped(run.unavailable)
            );
        }
        self.runs.push(run);
        self.tell(&text)
    }

    /// Says what came of it all.
    pub fn end(&self, used_tokens_refused: usize) -> Done {
        let summary = Summary::of(&self.subject, &self.load, &self.runs, used_tokens_refused);
        if self.is_json {
            return print(&serde_json::to_string(&summary).during("print the result")?);
        }
        let mut text = format!(
            "{:<12} every answer; {} pairs of tokens verified",
            "checked", summary.tokens_verified
        );
        if self.load.operation == Operation::Renew {
            text += &format!("; {used_tokens_refused} used tokens refused");
        }
        if self.runs.len() > 1 {
            let rate = grouped(summary.operations_per_second.round() as u64);
            text += &format!("\n{:<12} {rate} a second", "median");
        }
        if let (2.., Some(ratio)) = (self.runs.len(), summary.ratio) {
            text += &format!("   ratio {ratio:.2}");
        }
        print(&text)
    }

    /// # Errors
    /// When of the answers of a run more than so many percent were 503.
    pub fn tolerate_unavailable(&self, percent: u64) -> Done {
        let is_over =
            |run: &&Run| run.unavailable * 100 > percent * (run.operations + run.unavailable);
        match self.runs.iter().find(is_over) {
            None => Ok(()),
            Some(run) => Err(Failure::of(format!(
                "{} answers were 503 beside {} that were not: more than {percent} %",
                run.unavailable, run.operations
            ))),
        }
    }

    fn why_unknown(&self) -> &'static str {
        match self.subject.store {
            Some(_) => "it is read on Linux only",
            None => "the server is not of the bench (--self)",
        }
    }

    /// For people only.
    fn tell(&self, text: &str) -> Done {
        if self.is_json { Ok(()) } else { print(text) }
    }
}

/// A reader that has seen enough is no error.
fn print(text: &str) -> Done {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::of(error.to_string()))
        }
        _ => Ok(()),
    }
}

/// With a space between thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Milliseconds, with as many digits as say something.
fn short(ms: f64) -> String {
    if ms < 1.0 {
        format!("{ms:.2}")
    } else {
        format!("{ms:.1}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_told_apart() {
        let shown = [0, 12, 999, 1000, 12_345, 1_234_567].map(grouped);
        assert_eq!(shown, ["0", "12", "999", "1 000", "12 345", "1 234 567"]);
    }
}
