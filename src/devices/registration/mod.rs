//! The registration tokens of devices: one token family a device, one verb a file.

mod create;
pub mod family;
mod holder;
mod refresh;
mod session;

pub use create::{Created, NewRegistration, create};
pub use refresh::{Refreshed, refresh};
pub use session::begin_session;
