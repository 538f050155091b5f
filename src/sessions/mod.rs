//! Sessions: one verb a file.

mod amend;
mod bearer;
mod claims;
mod list;
mod logout;
mod renew;
pub mod renewal;
mod sign;
mod tokens;
mod verify;

pub use amend::amend;
pub use bearer::{Bearer, bearer};
pub use claims::{Claims, MAX_CLAIM_BYTES, RESERVED};
pub use list::{Listing, list};
pub use logout::{LogoutTarget, logout};
pub use renew::{Client, renew};
pub use sign::{Minted, NewSession, begin, sign};
pub use tokens::{Grant, issue_auth};
pub use verify::{Verified, verify};
