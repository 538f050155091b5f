//! Time and randomness, injected: the system's are touched here and nowhere else.

use std::{
    convert::Infallible,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use entity::{Timestamp, time::Span};
#[expect(
    clippy::disallowed_types,
    reason = "the one place that asks the system"
)]
use rand::rngs::SysRng;
use rand::{CryptoRng, SeedableRng, TryCryptoRng, TryRng, rand_core::UnwrapErr, rngs::ChaCha20Rng};
use zeroize::Zeroizing;

/// What is asked of the operating system at once: a request draws some 60 bytes, in several draws.
const BUFFER: usize = 512;

/// Tells the time, which may be set, and for how long the process runs, which only grows.
#[derive(Clone)]
pub struct Clock {
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    uptime: Arc<dyn Fn() -> Span + Send + Sync>,
}

/// The generator of all that must be unpredictable.
#[derive(Clone)]
pub struct Rng(Arc<Mutex<dyn CryptoRng + Send>>);

impl Clock {
    /// The clock of the operating system.
    pub fn system() -> Self {
        let start = std::time::Instant::now();
        let uptime = move || {
            let millis = start.elapsed().as_millis();
            Span::millis(i64::try_from(millis).unwrap_or(i64::MAX))
        };
        let now = || {
            #[expect(
                clippy::disallowed_methods,
                reason = "the one place that asks the system"
            )]
            let now = std::time::SystemTime::now();
            let since_epoch = now
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap_or_default();
            Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
        };
        Self::from_fns(now, uptime)
    }

    /// A clock that shows what `now` says, and is never set.
    pub fn from_fn(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let now = Arc::new(now);
        let shown = now.clone();
        Self {
            now,
            uptime: Arc::new(move || Span::millis(shown().as_millis())),
        }
    }

    /// A clock that shows what `now` says, of a process that runs for `uptime`.
    pub fn from_fns(
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
        uptime: impl Fn() -> Span + Send + Sync + 'static,
    ) -> Self {
        Self {
            now: Arc::new(now),
            uptime: Arc::new(uptime),
        }
    }

    /// Now. Asked once per operation, at its start.
    pub fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// How much time has passed since some moment before: not counted while the machine sleeps.
    pub fn uptime(&self) -> Span {
        (self.uptime)()
    }
}

impl Rng {
    /// The generator of the operating system.
    pub fn system() -> Self {
        Self::new(Buffered {
            source: UnwrapErr(SysRng),
            bytes: Zeroizing::new([0; BUFFER]),
            used: BUFFER,
        })
    }

    /// Draws from `generator`.
    pub fn new(generator: impl CryptoRng + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(generator)))
    }

    /// A generator of one's own, seeded by this one: for draws that take long.
    pub fn fork(&self) -> ChaCha20Rng {
        self.with(|mut rng| ChaCha20Rng::from_rng(&mut rng))
    }

    /// Lends the generator for one draw.
    pub fn with<T>(&self, draw: impl FnOnce(&mut (dyn CryptoRng + Send)) -> T) -> T {
        draw(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The bytes of `source`, asked for in larger pieces; what was handed out is wiped.
struct Buffered<R> {
    source: R,
    bytes: Zeroizing<[u8; BUFFER]>,
    used: usize,
}

impl<R: CryptoRng> TryRng for Buffered<R> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_ne_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, into: &mut [u8]) -> Result<(), Infallible> {
        if into.len() > BUFFER {
            self.source.fill_bytes(into);
            return Ok(());
        }
        if into.len() > BUFFER - self.used {
            self.source.fill_bytes(&mut *self.bytes);
            self.used = 0;
        }
        let drawn = &mut self.bytes[self.used..self.used + into.len()];
        into.copy_from_slice(drawn);
        drawn.fill(0);
        self.used += into.len();
        Ok(())
    }
}

impl<R: CryptoRng> TryCryptoRng for Buffered<R> {}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

impl fmt::Debug for Rng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rng")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::Rng as _;

    use super::*;

    #[test]
    fn draws_of_any_size_never_repeat_and_are_wiped() {
        let mut rng = Buffered {
            source: ChaCha20Rng::seed_from_u64(7),
            bytes: Zeroizing::new([0; BUFFER]),
            used: BUFFER,
        };
        let mut seen = HashSet::new();
        for size in (8..=BUFFER + 8).chain(8..=64) {
            let mut drawn = vec![0; size];
            rng.fill_bytes(&mut drawn);
            assert!(seen.insert(drawn[..8].to_vec()), "{size}");
            assert!(
                seen.insert(drawn[size - 8..].to_vec()) || size < 16,
                "{size}"
            );
            assert!(rng.bytes[..rng.used].iter().all(|byte| *byte == 0));
        }
        assert_ne!(rng.next_u32(), rng.next_u32());
        assert_ne!(rng.next_u64(), rng.next_u64());
    }
}
