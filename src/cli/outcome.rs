//! How a command ends.

use std::{
    error::Error,
    io::{self, Write},
};

/// The result of a command; the error is shown to its user.
pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Tells the user of an error, with its causes.
pub fn complain(error: &dyn Error) {
    let mut text = format!("renewd: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    // There is nobody left to tell when this fails.
    let _ = writeln!(io::stderr(), "{text}");
}
