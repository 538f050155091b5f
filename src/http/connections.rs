//! The connections that are open: who gets a place when there is none left, and who has kept the server waiting for too long.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use slab::Slab;
use tokio::{sync::Notify, task::AbortHandle, time::timeout};

use super::{
    counts::{ListenerCounts, Reason},
    limits::Limits,
    progress::{Progress, WHOLE},
};

/// How many are compared when one has to go, so that a flood of newcomers costs little, however many are open.
const COMPARED: usize = 1024;

/// How long to wait before it is looked again whether one may go.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Those of one listener.
#[derive(Debug)]
pub struct Connections {
    limits: Limits,
    counts: ListenerCounts,
    table: Mutex<Table>,
    /// Told when one is gone.
    freed: Notify,
    is_last_answer: AtomicBool,
}

#[derive(Debug, Default)]
struct Table {
    slots: Slab<Slot>,
    /// The slots of each address that has a limit.
    peers: HashMap<IpAddr, Vec<usize>>,
    /// Where the comparison began last.
    hand: usize,
}

#[derive(Debug)]
struct Slot {
    connection: Arc<Connection>,
    peer: Option<IpAddr>,
    /// It was told to close, and has not yet.
    is_closing: bool,
}

/// What its own task and the one that closes it share.
#[derive(Debug)]
pub struct Connection {
    pub progress: Progress,
    /// What serves it, once that has begun.
    task: OnceLock<AbortHandle>,
}

/// The place of one connection, given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    connections: Arc<Connections>,
    pub connection: Arc<Connection>,
    key: usize,
}

/// What is to be done for a newcomer.
enum Admission {
    Admitted(Arc<Connection>, usize),
    Wait,
    Refused,
}

impl Connections {
    pub fn new(limits: Limits, counts: ListenerCounts) -> Arc<Self> {
        Arc::new(Self {
            limits,
            counts,
            table: Mutex::default(),
            freed: Notify::new(),
            is_last_answer: AtomicBool::new(false),
        })
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    pub fn counts(&self) -> &ListenerCounts {
        &self.counts
    }

    /// A place for a connection from `address`, once there is one. For its sake the connection is closed that has used up
    /// most of its time, of all or of the same address; who waits for the server is left alone. None when the address has
    /// only such ones.
    pub async fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let peer = self.limits.peer(address);
        loop {
            match self.try_admit(peer) {
                Admission::Admitted(connection, key) => {
                    self.counts.open.inc();
                    return Some(Place {
                        connections: self.clone(),
                        connection,
                        key,
                    });
                }
                Admission::Refused => {
                    self.counts.closed(Reason::MaxConnectionsPerAddress);
                    return None;
                }
                Admission::Wait => self.freed(LOOK_AGAIN).await,
            }
        }
    }

    /// Closes the connection that has used up most of its time, for want of files. Whether there was one.
    pub fn make_room(&self) -> bool {
        self.close_longest_of_all(&mut self.table())
    }

    /// Waits until a connection is gone, but no longer than `limit`.
    pub async fn freed(&self, limit: Duration) {
        // Whether it was in time makes no difference: the caller looks again.
        let _ = timeout(limit, self.freed.notified()).await;
    }

    /// Closes those whose time is over.
    pub fn close_overdue(&self) {
        let now = Instant::now();
        for (_, slot) in &mut self.table().slots {
            let wait = slot.connection.progress.wait(now, &self.limits.deadlines);
            if let Some(wait) = wait.filter(|wait| wait.share >= WHOLE) {
                self.close(slot, wait.reason);
            }
        }
    }

    /// Closes those that wait for nothing, and sees that those that wait for an answer close after it. Whether any is left.
    pub fn wind_up(&self) -> bool {
        self.is_last_answer.store(true, Relaxed);
        let mut table = self.table();
        for (_, slot) in &mut table.slots {
            if slot.connection.progress.is_silent() {
                self.close(slot, Reason::Shutdown);
            }
        }
        !table.slots.is_empty()
    }

    /// Closes all. Whether any is left.
    pub fn close_all(&self) -> bool {
        let mut table = self.table();
        for (_, slot) in &mut table.slots {
            self.close(slot, Reason::Shutdown);
        }
        !table.slots.is_empty()
    }

    /// Whether a connection closes after the answer that it is about to get.
    pub fn is_last_answer(&self) -> bool {
        self.is_last_answer.load(Relaxed)
    }

    fn try_admit(&self, peer: Option<IpAddr>) -> Admission {
        let mut table = self.table();
        if let Some(peer) = peer
            && table.peers.get(&peer).map_or(0, Vec::len) >= self.limits.per_address
        {
            return if self.close_longest_of(&mut table, peer) {
                Admission::Wait
            } else {
                Admission::Refused
            };
        }
        if table.slots.len() >= self.limits.connections {
            if !table.slots.iter().any(|(_, slot)| slot.is_closing) {
                self.close_longest_of_all(&mut table);
            }
            return Admission::Wait;
        }
        let connection = Arc::new(Connection {
            progress: Progress::begin(),
            task: OnceLock::new(),
        });
        let key = table.slots.insert(Slot {
            connection: connection.clone(),
            peer,
            is_closing: false,
        });
        if let Some(peer) = peer {
            table.peers.entry(peer).or_default().push(key);
        }
        Admission::Admitted(connection, key)
    }

    /// Of those of `peer`, unless one is about to go already. Whether one goes.
    fn close_longest_of(&self, table: &mut Table, peer: IpAddr) -> bool {
        let keys = table.peers.get(&peer).map_or(&[][..], Vec::as_slice);
        let slots = &table.slots;
        let mut closing = keys.iter().filter_map(|key| slots.get(*key));
        if closing.any(|slot| slot.is_closing) {
            return true;
        }
        let longest = self.longest(slots, keys.iter().copied());
        self.close_found(table, longest, Reason::MaxConnectionsPerAddress)
    }

    /// Of all, or of those that are compared this time. Whether one goes.
    fn close_longest_of_all(&self, table: &mut Table) -> bool {
        let places = table.slots.capacity().max(1);
        let begin = table.hand;
        let mut longest = None;
        let mut passed = 0;
        while longest.is_none() && passed < places {
            let window = COMPARED.min(places - passed);
            let keys = (passed..passed + window).map(|step| (begin + step) % places);
            longest = self.longest(&table.slots, keys);
            passed += window;
        }
        table.hand = (begin + passed) % places;
        self.close_found(table, longest, Reason::MaxConnections)
    }

    /// Which of `keys` has used up the greatest share of its time.
    fn longest(&self, slots: &Slab<Slot>, keys: impl Iterator<Item = usize>) -> Option<usize> {
        let now = Instant::now();
        let share = |key: usize| {
            let slot = slots.get(key).filter(|slot| slot.may_close())?;
            let wait = slot.connection.progress.wait(now, &self.limits.deadlines)?;
            Some((wait.share, key))
        };
        keys.filter_map(share).max().map(|(_, key)| key)
    }

    fn close_found(&self, table: &mut Table, key: Option<usize>, reason: Reason) -> bool {
        match key.and_then(|key| table.slots.get_mut(key)) {
            Some(slot) => {
                self.close(slot, reason);
                true
            }
            None => false,
        }
    }

    fn close(&self, slot: &mut Slot, reason: Reason) {
        if slot.may_close()
            && let Some(task) = slot.connection.task.get()
        {
            slot.is_closing = true;
            // Counted first: whoever sees that it is closed finds it counted.
            self.counts.closed(reason);
            tracing::debug!(reason = reason.name(), "connection closed");
            task.abort();
        }
    }

    fn remove(&self, key: usize) {
        let mut table = self.table();
        let slot = table.slots.remove(key);
        if let Some(peer) = slot.peer
            && let Some(keys) = table.peers.get_mut(&peer)
        {
            if let Some(index) = keys.iter().position(|other| *other == key) {
                keys.swap_remove(index);
            }
            if keys.is_empty() {
                table.peers.remove(&peer);
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn may_close(&self) -> bool {
        !self.is_closing && self.connection.task.get().is_some()
    }
}

impl Connection {
    /// Tells what serves it.
    pub fn served_by(&self, task: AbortHandle) {
        // It is told once.
        let _ = self.task.set(task);
    }
}

impl Place {
    /// Whether the connection closes after the answer that it is about to get.
    pub fn is_last_answer(&self) -> bool {
        self.connections.is_last_answer()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.remove(self.key);
        self.connections.counts.open.dec();
        self.connections.freed.notify_one();
    }
}
