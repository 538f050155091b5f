//! How many connections are taken, and for how long each of them may keep the server waiting.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use ipnet::IpNet;
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::config::Config;

/// Files that are kept for the store, the log, the listeners, and the connections of the metrics.
const RESERVE: u64 = 64;

/// The fewest connections that are taken, however few files the process may open.
const FEWEST: u64 = 16;

/// The most that are taken unless the settings say otherwise: each may hold a head of 64 KiB in memory.
const MOST: u64 = 16_384;

/// Connections to the metrics: a few scrapers have one each.
const METRICS: usize = 16;

/// What a listener grants.
#[derive(Clone, Debug)]
pub struct Limits {
    pub deadlines: Deadlines,
    /// Connections in all.
    pub connections: usize,
    /// Connections from one address.
    pub per_address: usize,
    /// Addresses that speak for many, and have no limit of their own.
    pub trusted: Vec<IpNet>,
}

/// How long a connection may keep the server waiting.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// For a request's head: from the accept, and from the first byte of each later one.
    pub head: Duration,
    /// For the whole body, from the end of the head.
    pub body: Duration,
    /// For the client to take anything more of an answer.
    pub write: Duration,
    /// For the next request.
    pub idle: Duration,
}

impl Limits {
    /// Those of the API.
    pub fn of_api(config: &Config) -> Self {
        let connections = match config.max_connections {
            0 => connections_of(file_limit(), config.database_connections),
            count => count as usize,
        };
        let per_address = match config.max_connections_per_address {
            0 => (connections / 4).max(1),
            count => count as usize,
        };
        Self {
            deadlines: Deadlines::of(config),
            connections,
            per_address,
            trusted: config.trusted_proxies.clone(),
        }
    }

    /// Those of the metrics.
    pub fn of_metrics(config: &Config) -> Self {
        Self {
            deadlines: Deadlines::of(config),
            connections: METRICS,
            per_address: METRICS,
            trusted: Vec::new(),
        }
    }

    /// Whom the connections of `address` are counted for: itself, or the /64 that whoever has an IPv6 address usually has
    /// whole; nobody if it is a trusted proxy.
    pub fn peer(&self, address: IpAddr) -> Option<IpAddr> {
        let address = address.to_canonical();
        if self
            .trusted
            .iter()
            .any(|network| network.contains(&address))
        {
            return None;
        }
        Some(match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(address) => {
                let host_bits = u128::from(u64::MAX);
                Ipv6Addr::from_bits(address.to_bits() & !host_bits).into()
            }
        })
    }
}

impl Deadlines {
    fn of(config: &Config) -> Self {
        let seconds = |count: u32| Duration::from_secs(count.into());
        Self {
            head: seconds(config.request_head_timeout),
            body: seconds(config.request_body_timeout),
            write: seconds(config.response_timeout),
            idle: seconds(config.idle_timeout),
        }
    }

    /// How often to look whether one is over: often enough that none is missed by more than a quarter, or by a second.
    pub fn tick(&self) -> Duration {
        let shortest = self.head.min(self.body).min(self.write).min(self.idle);
        (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }
}

/// Lets this process open as many files as it may: what it starts with is often a thousand, whatever the machine.
///
/// # Errors
/// When the system refuses.
pub fn raise_file_limit() -> std::io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit)?;
    }
    Ok(())
}

/// Files that this process may open; none when there is no limit.
fn file_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// The connections for which there are files enough.
fn connections_of(files: Option<u64>, database_connections: u32) -> usize {
    let reserve = RESERVE + u64::from(database_connections);
    let free = files.map_or(MOST, |files| files.saturating_sub(reserve));
    usize::try_from(free.clamp(FEWEST, MOST)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(settings: &str) -> Limits {
        let config = Config::load(None, toml::from_str(settings).unwrap()).unwrap();
        Limits::of_api(&config)
    }

    #[test]
    fn the_number_of_connections_follows_from_the_file_limit() {
        for (files, connections) in [
            (Some(200), 126),
            (Some(1024), 950),
            (Some(524_288), 16_384),
            (Some(20), 16),
            (None, 16_384),
        ] {
            assert_eq!(connections_of(files, 10), connections, "{files:?}");
        }
    }

    #[test]
    fn an_address_may_have_a_quarter_unless_it_is_told_otherwise() {
        let limits = limits("max_connections = 400");
        assert_eq!((limits.connections, limits.per_address), (400, 100));
        let limits = self::limits("max_connections = 2\nmax_connections_per_address = 2");
        assert_eq!((limits.connections, limits.per_address), (2, 2));
        assert_eq!(self::limits("max_connections = 2").per_address, 1);
    }

    #[test]
    fn addresses_are_counted_by_who_has_them() {
        let limits = limits("trusted_proxies = ['10.0.0.0/8', '2001:db8:1::/48']");
        for (address, peer) in [
            ("203.0.113.9", Some("203.0.113.9")),
            ("::ffff:203.0.113.9", Some("203.0.113.9")),
            ("2001:db8::1:2:3:4", Some("2001:db8::")),
            ("2001:db8:0:1::7", Some("2001:db8:0:1::")),
            ("10.1.2.3", None),
            ("::ffff:10.1.2.3", None),
            ("2001:db8:1::9", None),
        ] {
            let found = limits.peer(address.parse().unwrap());
            assert_eq!(found, peer.map(|peer| peer.parse().unwrap()), "{address}");
        }
    }
}
