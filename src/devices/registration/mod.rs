//! The registration tokens of devices: one lineage a device, one verb a file.

mod create;
mod holder;
pub mod lineage;
mod refresh;
mod session;

pub use create::{Created, NewRegistration, create};
pub use refresh::{Refreshed, refresh};
pub use session::begin_session;
