//! Signing keys: how they are made, sealed and kept ready, and how one follows another.

mod keyring;
mod new_key;
mod rotate;
pub mod schedule;

pub use keyring::{Entry, Jwks, Keyring, dates};
pub use new_key::{NewKey, draw, generate, seal};
pub use rotate::{MOST, advance, policy, revoke, rotate, rotate_in_emergency, token_life};
