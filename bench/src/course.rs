//! The course of a run, which all clients follow: warm-up, window, end; and when the operations are due.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

/// Operations that are due within this time are let go together: to wake up for each would cost more than it tells.
const STEP: Duration = Duration::from_micros(250);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    WarmUp,
    Window,
    Over,
}

pub struct Course {
    phase: AtomicU8,
    /// Operations that were answered, in whichever phase.
    pub answered: AtomicU64,
    pace: Option<Pace>,
}

/// An open loop: operations are due at fixed moments, whether or not the ones before were answered.
struct Pace {
    /// Operations a second.
    rate: f64,
    begin: Instant,
    /// One permit for each operation that is due and was not begun.
    due: Semaphore,
    begun: AtomicU64,
}

impl Course {
    /// With a rate, in operations a second, it is an open loop, which begins now.
    pub fn new(rate: Option<u32>) -> Arc<Self> {
        let course = Arc::new(Self {
            phase: AtomicU8::new(Phase::WarmUp as u8),
            answered: AtomicU64::new(0),
            pace: rate.map(|rate| Pace {
                rate: f64::from(rate),
                begin: Instant::now(),
                due: Semaphore::new(0),
                begun: AtomicU64::new(0),
            }),
        });
        if rate.is_some() {
            let paced = course.clone();
            // A thread, because it sleeps more precisely than a timer of the runtime.
            thread::spawn(move || paced.drive());
        }
        course
    }

    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::WarmUp,
            1 => Phase::Window,
            _ => Phase::Over,
        }
    }

    /// Counts an answer.
    pub fn count(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    pub fn open_window(&self) {
        self.phase.store(Phase::Window as u8, Ordering::Relaxed);
    }

    /// Ends it. Gives the time that each operation has waited which was due and was not begun, in µs.
    pub fn end(&self) -> Vec<u32> {
        self.phase.store(Phase::Over as u8, Ordering::Relaxed);
        let Some(pace) = &self.pace else {
            return Vec::new();
        };
        pace.due.close();
        let begun = pace.begun.load(Ordering::Relaxed);
        (begun..pace.due_now())
            .map(|number| micros_since(pace.moment(number)))
            .collect()
    }

    /// Waits until the next operation is due; gives the moment when it was. `None` when the course has ended.
    pub async fn next(&self) -> Option<Instant> {
        let Some(pace) = &self.pace else {
            return (self.phase() != Phase::Over).then(Instant::now);
        };
        pace.due.acquire().await.ok()?.forget();
        Some(pace.moment(pace.begun.fetch_add(1, Ordering::Relaxed)))
    }

    /// Lets operations go when they are due.
    fn drive(&self) {
        let Some(pace) = &self.pace else { return };
        let mut released = 0;
        while !pace.due.is_closed() {
            let due = pace.due_now();
            pace.due
                .add_permits(usize::try_from(due - released).unwrap_or_default());
            released = due;
            let wait = pace.moment(due).saturating_duration_since(Instant::now());
            // Not beyond the end of the course, at the lowest rates.
            thread::sleep(wait.clamp(STEP, Duration::from_millis(100)));
        }
    }
}

impl Pace {
    /// When the operation of this number is due, the first being 0.
    fn moment(&self, number: u64) -> Instant {
        self.begin + Duration::from_secs_f64(number as f64 / self.rate)
    }

    /// Operations that are due until now.
    fn due_now(&self) -> u64 {
        (self.begin.elapsed().as_secs_f64() * self.rate) as u64 + 1
    }
}

/// Time since then; an hour and more is an hour.
pub fn micros_since(moment: Instant) -> u32 {
    u32::try_from(moment.elapsed().as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_open_loop_does_not_wait_for_answers() {
        let course = Course::new(Some(1000));
        course.open_window();
        let first = course.next().await.unwrap();
        thread::sleep(Duration::from_millis(50));
        let second = course.next().await.unwrap();
        assert_eq!(second - first, Duration::from_millis(1));
        assert!(micros_since(second) >= 49_000, "it was due long ago");
        let waiting = course.end();
        assert!(waiting.len() >= 48, "{}", waiting.len());
        assert!(waiting[0] >= 48_000);
    }

    #[tokio::test]
    async fn a_closed_loop_goes_on_at_once_until_the_end() {
        let course = Course::new(None);
        assert_eq!(course.phase(), Phase::WarmUp);
        assert!(course.next().await.is_some());
        assert!(course.end().is_empty());
        assert_eq!(course.next().await, None);
    }
}
