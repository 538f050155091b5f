//! Counts the events of devices and the new devices that publishable keys and users report: in this process, in bounded memory.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
};

use entity::{AppId, DeviceId, Timestamp, time::Span};

use crate::{
    config::Config,
    error::{Error, Result},
};

/// Devices, apps, or subjects that are counted in a window. Further ones are not refused: a caller who fills this up must not
/// silence the others.
const MOST: usize = 100_000;

/// The events of each device in this minute, and the new devices of each app in this hour. The new devices that a signed-in
/// subject reports are counted for that subject alone: strangers with the publishable key, which everybody has, cannot keep it out.
#[derive(Debug)]
pub struct Quota {
    events: Mutex<Window<DeviceId>>,
    devices: Mutex<Window<AppId>>,
    own_devices: Mutex<Window<Subject>>,
}

/// A subject of an app.
type Subject = (AppId, Box<str>);

/// What was counted since it began, each below the limit.
#[derive(Debug)]
struct Window<K> {
    length: Span,
    /// 0: nothing is counted.
    limit: u32,
    began: Timestamp,
    counts: HashMap<K, u32>,
}

impl Quota {
    /// By these settings.
    pub fn of(config: &Config) -> Self {
        let (events, devices) = (config.device_events_per_minute, config.new_devices_per_hour);
        Self {
            events: Mutex::new(Window::new(Span::seconds(60), events)),
            devices: Mutex::new(Window::new(Span::seconds(3600), devices)),
            own_devices: Mutex::new(Window::new(
                Span::seconds(3600),
                config.new_devices_of_subject_per_hour,
            )),
        }
    }

    /// Counts an event of the device.
    ///
    /// # Errors
    /// When there were too many in this minute.
    pub fn event(&self, id: DeviceId, now: Timestamp) -> Result<()> {
        let mut events = lock(&self.events);
        events.check(&id, now)?;
        events.count(id);
        Ok(())
    }

    /// Sees that the app may have one device more.
    ///
    /// # Errors
    /// When it had too many in this hour.
    pub fn check_new(&self, id: AppId, now: Timestamp) -> Result<()> {
        lock(&self.devices).check(&id, now)
    }

    /// Counts a device that the app has now.
    pub fn count_new(&self, id: AppId) {
        lock(&self.devices).count(id);
    }

    /// Sees that the subject may have one device more.
    ///
    /// # Errors
    /// When it had too many in this hour.
    pub fn check_own(&self, id: AppId, sub: &str, now: Timestamp) -> Result<()> {
        lock(&self.own_devices).check(&(id, sub.into()), now)
    }

    /// Counts a device that the subject has now.
    pub fn count_own(&self, id: AppId, sub: &str) {
        lock(&self.own_devices).count((id, sub.into()));
    }
}

fn lock<K>(window: &Mutex<Window<K>>) -> MutexGuard<'_, Window<K>> {
    window.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K: Hash + Eq> Window<K> {
    fn new(length: Span, limit: u32) -> Self {
        Self {
            length,
            limit,
            began: Timestamp::from_millis(0),
            counts: HashMap::new(),
        }
    }

    fn check(&mut self, key: &K, now: Timestamp) -> Result<()> {
        // A clock that was set back keeps nobody out for longer than a window.
        if now < self.began || now >= self.began + self.length {
            self.began = now;
            self.counts = HashMap::new();
        }
        let count = self.counts.get(key).copied().unwrap_or(0);
        if self.limit > 0 && count >= self.limit {
            let retry_after = (self.began + self.length).since(now);
            return Err(Error::TooManyRequests { retry_after });
        }
        Ok(())
    }

    fn count(&mut self, key: K) {
        if self.limit > 0 && (self.counts.len() < MOST || self.counts.contains_key(&key)) {
            *self.counts.entry(key).or_insert(0) += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_seconds(1_740_427_049);

    fn at(seconds: i64) -> Timestamp {
        START + Span::seconds(seconds)
    }

    fn refused(result: Result<()>) -> Option<i64> {
        match result {
            Ok(()) => None,
            Err(Error::TooManyRequests { retry_after }) => Some(retry_after.as_seconds_ceil()),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_window_ends_in_its_time() {
        let mut window = Window::new(Span::seconds(60), 2);
        for (now, expected) in [
            (0, None),
            (59, None),
            (59, Some(1)),
            (30, Some(30)),
            (60, None),
        ] {
            let found = refused(window.check(&1, at(now)));
            assert_eq!(found, expected, "{now}");
            if found.is_none() {
                window.count(1);
            }
        }
        // Another key has a count of its own, and a clock that was set back begins anew.
        assert_eq!(refused(window.check(&2, at(61))), None);
        window.count(1);
        assert_eq!(refused(window.check(&1, at(61))), Some(59));
        assert_eq!(refused(window.check(&1, at(-1))), None);
    }

    #[test]
    fn it_stays_small_and_refuses_nobody_for_that() {
        let mut window = Window::new(Span::seconds(60), 1);
        for key in 0..MOST + 10 {
            assert_eq!(refused(window.check(&key, START)), None);
            window.count(key);
        }
        assert_eq!(window.counts.len(), MOST);
        assert_eq!(refused(window.check(&0, START)), Some(60));
        assert_eq!(refused(window.check(&(MOST + 1), START)), None);
    }

    #[test]
    fn nothing_is_counted_without_a_limit() {
        let mut window = Window::new(Span::seconds(60), 0);
        for _ in 0..100 {
            assert_eq!(refused(window.check(&1, START)), None);
            window.count(1);
        }
        assert!(window.counts.is_empty());
    }
}
