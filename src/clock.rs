//! Time and randomness, injected: the system's are touched here and nowhere else.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use entity::Timestamp;
#[expect(
    clippy::disallowed_types,
    reason = "the one place that asks the system"
)]
use rand::rngs::SysRng;
use rand::{CryptoRng, SeedableRng, rand_core::UnwrapErr, rngs::ChaCha20Rng};

/// Tells the time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

/// The generator of all that must be unpredictable.
#[derive(Clone)]
pub struct Rng(Arc<Mutex<dyn CryptoRng + Send>>);

impl Clock {
    /// The clock of the operating system.
    pub fn system() -> Self {
        Self::from_fn(|| {
            #[expect(
                clippy::disallowed_methods,
                reason = "the one place that asks the system"
            )]
            let now = std::time::SystemTime::now();
            let since_epoch = now
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap_or_default();
            Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
        })
    }

    /// A clock that shows what `now` says.
    pub fn from_fn(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Now. Asked once per operation, at its start.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl Rng {
    /// The generator of the operating system.
    pub fn system() -> Self {
        Self::new(UnwrapErr(SysRng))
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
