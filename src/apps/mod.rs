//! Applications: their policies, their keys, and what of them is kept in memory.

pub mod application;
mod authenticate;
mod create;
mod delete;
pub mod directory;
mod flush;
mod freshness;
pub mod keys;
mod list;
mod load;
mod news;
pub mod origin;
mod policy;
mod revision;
mod revoke_all;
mod right;
pub mod root_key;
mod update;
pub mod usage;

pub use authenticate::{Caller, PresentedKey, authenticate, authenticate_root};
pub use create::{Created, create};
pub use delete::delete;
pub use directory::LoadedApp;
pub use flush::flush;
pub use keys::{MadeKey, NewAppKey};
pub use list::list;
pub use policy::{AppChanges, FIELDS, Field, Limits, NewApp, check_audiences, members};
pub use revision::{Revision, ServerRevision};
pub use revoke_all::revoke_all;
pub use update::update;
