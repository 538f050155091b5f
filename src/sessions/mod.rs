//! Sessions: one verb a file.

mod amend;
mod bearer;
mod claims;
mod doubts;
mod lifetimes;
mod list;
mod logout;
mod mark;
mod renew;
#[cfg(test)]
mod renewable_tests;
pub mod renewal;
mod sign;
pub mod statements;
mod tokens;
mod verify;
mod write_path;

pub use amend::amend;
pub use bearer::{Bearer, bearer};
pub use claims::{Claims, MAX_CLAIM_BYTES, RESERVED};
pub use lifetimes::Lifetimes;
pub use list::{Listing, list};
pub use logout::{LogoutTarget, logout};
pub use mark::Suspects;
pub use renew::{Client, renew};
pub use sign::{Minted, NewSession, begin, sign};
pub use tokens::{Grant, issue_auth};
pub use verify::{Verified, verify};
pub use write_path::WritePath;
