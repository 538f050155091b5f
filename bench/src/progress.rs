//! One line on the standard error that shows how far it is; nothing where nobody watches.

use std::{
    io::{self, IsTerminal, Write},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval};

use crate::failure::{Done, Failure};

/// Seconds without any answer after which the server is taken for dead.
const SILENCE: u32 = 30;

pub struct Progress {
    is_shown: bool,
    /// Which run it is, when there are several.
    run: Mutex<String>,
}

impl Progress {
    pub fn new() -> Self {
        Self {
            is_shown: io::stderr().is_terminal(),
            run: Mutex::default(),
        }
    }

    pub fn name_run(&self, number: u32, of: u32) {
        let name = match of {
            1 => String::new(),
            _ => format!("run {number} of {of}: "),
        };
        *self.run.lock().unwrap_or_else(PoisonError::into_inner) = name;
    }

    /// Shows once a second what `line` makes of the count and of what came to it in this second, while `work` is done.
    ///
    /// # Errors
    /// Those of the work; and when the count stands still for too long.
    pub async fn watch<T>(
        &self,
        count: &AtomicU64,
        line: impl Fn(u64, u64) -> String,
        work: impl Future<Output = Done<T>>,
    ) -> Done<T> {
        let mut work = std::pin::pin!(work);
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut before, mut silent) = (count.load(Ordering::Relaxed), 0);
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                _ = seconds.tick() => {}
            }
            let now = count.load(Ordering::Relaxed);
            silent = if now == before { silent + 1 } else { 0 };
            if silent > SILENCE {
                let text = format!("the server has answered nothing for {SILENCE} seconds");
                break Err(Failure::of(text));
            }
            self.show(&line(now, now - before));
            before = now;
        };
        self.clear();
        done
    }

    fn show(&self, text: &str) {
        if self.is_shown {
            let run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever cannot be shown it does without.
            let _ = write!(io::stderr(), "\r\x1b[K{run}{text}");
        }
    }

    fn clear(&self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
