//! Where a request came from.

use std::net::IpAddr;

use ipnet::IpNet;
use poem::{Addr, Request, http::header};

use crate::sessions::Client;

/// Characters of a `User-Agent` that are kept.
const USER_AGENT_LENGTH: usize = 1024;

/// Where the request came from, and the user agent.
pub fn client(request: &Request, trusted: &[IpNet]) -> Client {
    let user_agent = request
        .headers()
        .get(header::USER_AGENT)
        .map(|value| String::from_utf8_lossy(value.as_bytes()));
    Client {
        ip: address(request, trusted),
        user_agent: user_agent.map(|text| text.chars().take(USER_AGENT_LENGTH).collect()),
        device_id: None,
    }
}

/// The address of the connection, or the one that trusted proxies forwarded.
pub fn address(request: &Request, trusted: &[IpNet]) -> Option<IpAddr> {
    let peer = match &request.remote_addr().0 {
        Addr::SocketAddr(address) => address.ip().to_canonical(),
        Addr::Unix(_) | Addr::Custom(..) => return None,
    };
    let forwarded = request
        .headers()
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect::<Vec<_>>()
        .join(",");
    Some(origin(peer, &forwarded, trusted))
}

/// The last address of the chain that no trusted proxy has: whatever stands before it, its sender made up.
fn origin(peer: IpAddr, forwarded: &str, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut nearest = peer;
    for hop in forwarded.rsplit(',') {
        if !is_trusted(&nearest) {
            break;
        }
        match hop.trim().parse::<IpAddr>() {
            Ok(address) => nearest = address.to_canonical(),
            Err(_) => break,
        }
    }
    nearest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        for (peer, forwarded, expected) in [
            ("203.0.113.9", "", "203.0.113.9"),
            ("203.0.113.9", "198.51.100.7", "203.0.113.9"),
            ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
            ("10.0.0.1", "1.2.3.4, 198.51.100.7", "198.51.100.7"),
            ("10.0.0.1", "198.51.100.7, 10.0.0.2", "198.51.100.7"),
            ("10.0.0.1", "2001:db8::7", "2001:db8::7"),
            ("::1", "10.0.0.3", "10.0.0.3"),
            ("10.0.0.1", "garbage", "10.0.0.1"),
            ("10.0.0.1", "", "10.0.0.1"),
        ] {
            let origin = origin(peer.parse().unwrap(), forwarded, &trusted);
            assert_eq!(origin.to_string(), expected, "{peer} {forwarded}");
        }
    }
}
