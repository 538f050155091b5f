//! Devices: one row an app and physical device, its push token, and the sessions on it. One verb a file.

mod admit;
mod delete;
mod details;
mod end;
mod event;
mod feedback;
mod identify;
mod list;
mod merge;
mod push_token;
pub mod quota;
pub mod registration;
mod report;
mod reseal;
mod revoke;
mod rows;
mod swap;
mod targets;
mod update;

pub use admit::{Telling, admit, check, tie};
pub use delete::delete;
pub use details::Details;
pub use event::{Sighting, event};
pub use feedback::{Feedback, unregister};
pub use list::{list, show};
pub use report::report;
pub use reseal::reseal;
pub use revoke::revoke;
pub use swap::{Swap, swap};
pub use targets::{PushTarget, push_targets};
pub use update::{Changes, update};
