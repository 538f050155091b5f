//! Sessions: one verb a file.

mod amend;
mod bearer;
mod claims;
mod doubts;
mod lifetimes;
mod list;
mod logout;
pub mod mark;
pub mod minted;
mod presented;
mod renew;
#[cfg(test)]
mod renewable_tests;
pub mod renewal;
pub mod row;
#[cfg(test)]
mod samples;
mod sign;
pub mod statements;
mod tokens;
mod verify;
mod work;
pub mod write_path;
mod writing;

pub use amend::amend;
pub use bearer::{Bearer, bearer};
pub use claims::{Claims, MAX_CLAIM_BYTES, RESERVED};
pub use lifetimes::Lifetimes;
pub use list::list;
pub use logout::{LogoutTarget, logout};
pub use renew::{Client, renew};
pub use sign::{NewSession, begin, sign};
pub use tokens::{Grant, issue_auth};
pub use verify::{Verified, verify};
