//! The app-keys that clients use.

use std::sync::{Arc, PoisonError, RwLock};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Secret,
    Publishable,
}

/// An app-key.
#[derive(Clone, Debug)]
pub struct Key {
    /// A place in the history.
    pub index: usize,
    pub kind: Kind,
    /// Names it to who revokes it; empty for the app's first keys.
    pub id: Arc<str>,
    /// Whether it is the app's main key, which alone `rotate/key` replaces.
    pub is_main: bool,
    pub text: Arc<str>,
}

/// The ones that are in use: whoever replaces one tells all clients at once.
#[derive(Debug)]
pub struct Keys {
    secret: RwLock<Key>,
    publishable: RwLock<Key>,
}

impl Keys {
    pub fn new(secret: Key, publishable: Key) -> Self {
        Self {
            secret: RwLock::new(secret),
            publishable: RwLock::new(publishable),
        }
    }

    pub fn current(&self, kind: Kind) -> Key {
        let key = self.of(kind).read();
        key.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The one before it.
    pub fn replace(&self, key: Key) -> Key {
        let mut current = self
            .of(key.kind)
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *current, key)
    }

    fn of(&self, kind: Kind) -> &RwLock<Key> {
        match kind {
            Kind::Secret => &self.secret,
            Kind::Publishable => &self.publishable,
        }
    }
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Publishable => "publishable",
        }
    }
}
