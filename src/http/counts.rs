//! What Prometheus reads of the connections.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// The connections of all listeners.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    open: Family<Listener, Gauge>,
    closed: Family<Closed, Counter>,
    failures: Family<Listener, Counter>,
}

/// The connections of one listener.
#[derive(Clone, Debug)]
pub struct ListenerCounts {
    listener: &'static str,
    pub open: Gauge,
    closed: Family<Closed, Counter>,
    /// Accepts that failed.
    pub failures: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Listener {
    listener: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Closed {
    listener: &'static str,
    reason: &'static str,
}

/// Why the server closed a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A head was not complete in time.
    Head,
    /// A body was not complete in time.
    Body,
    /// The client did not take its answer.
    Write,
    /// The client asked for nothing more.
    Idle,
    /// Another client needed its place.
    MaxConnections,
    /// Another connection of its address needed its place, or had taken it.
    MaxConnectionsPerAddress,
    /// The server stopped.
    Shutdown,
}

impl Counts {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "http_connections",
            "Connections that are open",
            self.open.clone(),
        );
        registry.register(
            "http_connections_closed",
            "Connections that the server closed, by the reason",
            self.closed.clone(),
        );
        registry.register(
            "http_accept_failures",
            "Connections that could not be accepted",
            self.failures.clone(),
        );
    }

    /// Those of the listener of this name.
    pub fn of(&self, listener: &'static str) -> ListenerCounts {
        let label = Listener { listener };
        ListenerCounts {
            listener,
            open: self.open.get_or_create(&label).clone(),
            closed: self.closed.clone(),
            failures: self.failures.get_or_create(&label).clone(),
        }
    }
}

impl ListenerCounts {
    pub fn closed(&self, reason: Reason) {
        let label = Closed {
            listener: self.listener,
            reason: reason.name(),
        };
        self.closed.get_or_create(&label).inc();
    }
}

impl Reason {
    /// Its name in the metrics and the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Body => "body",
            Self::Write => "write",
            Self::Idle => "idle",
            Self::MaxConnections => "max_connections",
            Self::MaxConnectionsPerAddress => "max_connections_per_address",
            Self::Shutdown => "shutdown",
        }
    }
}
