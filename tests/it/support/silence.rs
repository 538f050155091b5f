//! What lies between a server and its database, and can stop to pass bytes on, without a word to either.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Takes connections and passes on what comes, or swallows it. A connection that was there while it was silent is never
/// heard of again, as where a router has forgotten it.
pub struct Silencer {
    /// The database by way of this.
    pub url: String,
    /// Counts the beginnings and the ends of silences: odd while it is silent.
    changes: Arc<AtomicUsize>,
}

impl Silencer {
    /// Before the database of this URL.
    pub fn before(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().to_string();
        let (_, address) = url.split_once('@').unwrap();
        let (address, _) = address.split_once('/').unwrap();
        let (address, url) = (address.to_owned(), url.replace(address, &own));
        let changes = Arc::new(AtomicUsize::new(0));
        let seen = changes.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(&address).unwrap());
                let (answers, to_client) =
                    (server.try_clone().unwrap(), client.try_clone().unwrap());
                let born = seen.load(Ordering::SeqCst);
                for (from, to) in [(client, server), (answers, to_client)] {
                    let seen = seen.clone();
                    let is_heard =
                        move || born.is_multiple_of(2) && seen.load(Ordering::SeqCst) == born;
                    thread::spawn(move || pass(from, to, is_heard));
                }
            }
        });
        Self { url, changes }
    }

    pub fn fall_silent(&self) {
        assert_eq!(self.changes.fetch_add(1, Ordering::SeqCst) % 2, 0);
    }

    /// Connections that are made from now on are passed on.
    pub fn speak_again(&self) {
        assert_eq!(self.changes.fetch_add(1, Ordering::SeqCst) % 2, 1);
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, is_heard: impl Fn() -> bool) {
    let mut bytes = [0; 65_536];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if is_heard() && to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    // The end of a connection is not told in a silence, either.
    if is_heard() {
        let _ = to.shutdown(Shutdown::Both);
    }
}
