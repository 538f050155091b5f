//! Stands between a node and its database, and cuts, or falls silent.

use std::{
    future, io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{Notify, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

/// What of a connection is at once in memory.
const CHUNK: usize = 64 * 1024;
/// How long the database may take for what it is asked.
const CARRIED_OUT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Proxy {
    pub address: SocketAddr,
    state: Arc<State>,
    listening: JoinHandle<()>,
}

/// What was done, in connections.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cuts {
    pub closed: u64,
    pub commits: u64,
    pub answers: u64,
    pub refused: u64,
    /// In pieces of a connection.
    pub held: u64,
}

/// What is held back until it is let go: nothing is reset, and nobody hears that the other side has closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hold {
    /// What a node asks, and its wish for a connection.
    pub questions: bool,
    pub answers: bool,
    /// By how much all that is not held back is late.
    pub delay: Duration,
}

#[derive(Debug, Default)]
struct State {
    cut: watch::Sender<()>,
    hold: watch::Sender<Hold>,
    refuse: AtomicBool,
    lose_commits: AtomicBool,
    lose_answers: AtomicBool,
    closed: AtomicU64,
    commits: AtomicU64,
    answers: AtomicU64,
    refused: AtomicU64,
    held: AtomicU64,
}

impl Proxy {
    pub async fn start(upstream: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::default());
        let listening = tokio::spawn(listen(listener, upstream, state.clone()));
        Ok(Self {
            address,
            state,
            listening,
        })
    }

    /// Closes every connection at once, but for those that are silent: nobody is told that these have ended.
    pub fn cut(&self) {
        if self.is_silent() {
            return;
        }
        self.state.cut.send_replace(());
    }

    /// For `window`, what looks like a commit is passed on and its answer is not: the connection ends in its stead.
    pub async fn lose_commits(&self, window: Duration) {
        during(&self.state.lose_commits, window).await;
    }

    /// The same, of whatever is asked.
    pub async fn lose_answers(&self, window: Duration) {
        during(&self.state.lose_answers, window).await;
    }

    /// For `window`, new connections are closed at once.
    pub async fn refuse(&self, window: Duration) {
        during(&self.state.refuse, window).await;
    }

    /// From now on, holds back what `hold` says, of the connections that there are and of new ones.
    pub fn hold(&self, hold: Hold) {
        self.state.hold.send_replace(hold);
    }

    fn is_silent(&self) -> bool {
        self.state.hold.borrow().is_silent()
    }

    /// Undoes what a window that was left early did not undo.
    pub fn heal(&self) {
        for flag in [
            &self.state.lose_commits,
            &self.state.lose_answers,
            &self.state.refuse,
        ] {
            flag.store(false, Relaxed);
        }
    }

    pub fn cuts(&self) -> Cuts {
        Cuts {
            closed: self.state.closed.load(Relaxed),
            commits: self.state.commits.load(Relaxed),
            answers: self.state.answers.load(Relaxed),
            refused: self.state.refused.load(Relaxed),
            held: self.state.held.load(Relaxed),
        }
    }
}

impl Hold {
    pub const SILENCE: Self = Self {
        questions: true,
        answers: true,
        delay: Duration::ZERO,
    };

    fn is_silent(self) -> bool {
        self.questions || self.answers
    }
}

impl State {
    /// Waits until what is on its way may pass.
    async fn passes(&self, is_held: impl Fn(&Hold) -> bool) {
        let mut hold = self.hold.subscribe();
        let now = *hold.borrow_and_update();
        if !now.delay.is_zero() {
            sleep(now.delay).await;
        }
        if is_held(&now) || !now.delay.is_zero() {
            self.held.fetch_add(1, Relaxed);
            // The sender lives as long as the state.
            let _ = hold.wait_for(|hold| !is_held(hold)).await;
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn during(flag: &AtomicBool, window: Duration) {
    flag.store(true, Relaxed);
    sleep(window).await;
    flag.store(false, Relaxed);
}

async fn listen(listener: TcpListener, upstream: SocketAddr, state: Arc<State>) {
    // Connections end with the listener.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                if state.refuse.load(Relaxed) && !state.hold.borrow().is_silent() {
                    state.refused.fetch_add(1, Relaxed);
                    continue;
                }
                connections.spawn(connect(client, upstream, state.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Whatever ends this ends the connection on both sides.
async fn connect(client: TcpStream, upstream: SocketAddr, state: Arc<State>) {
    let mut cut = state.cut.subscribe();
    state.passes(|hold| hold.questions).await;
    // A database that is down: the client sees its connection closed.
    let Ok(server) = TcpStream::connect(upstream).await else {
        return;
    };
    tokio::select! {
        _ = cut.changed() => { state.closed.fetch_add(1, Relaxed); }
        _ = pass(client, server, &state) => {}
    }
}

async fn pass(mut client: TcpStream, mut server: TcpStream, state: &State) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (client_reader, client_writer) = client.split();
    let (server_reader, server_writer) = server.split();
    // Set when the answer is not to be passed on, told when there was one.
    let (is_lost, answered) = (AtomicBool::new(false), Notify::new());
    tokio::select! {
        ended = ask(client_reader, server_writer, state, &is_lost, &answered) => ended,
        ended = answer(server_reader, client_writer, state, &is_lost, &answered) => ended,
    }
}

async fn ask(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    state: &State,
    is_lost: &AtomicBool,
    answered: &Notify,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = from.read(&mut chunk).await;
        // The end of a connection is held back like everything else.
        state.passes(|hold| hold.questions).await;
        let question = &chunk[..count?];
        if question.is_empty() {
            return Ok(());
        }
        let lost = count_lost(question, state);
        is_lost.store(lost.is_some(), Relaxed);
        to.write_all(question).await?;
        if let Some(count) = lost {
            // Half of them are surely carried out by then; with the others it is a race.
            if count % 2 == 0 {
                let _ = timeout(CARRIED_OUT, answered.notified()).await;
            }
            return Ok(());
        }
    }
}

async fn answer(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    state: &State,
    is_lost: &AtomicBool,
    answered: &Notify,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = from.read(&mut chunk).await;
        if is_lost.load(Relaxed) {
            answered.notify_one();
            // Whoever asked ends the connection.
            return future::pending().await;
        }
        state.passes(|hold| hold.answers).await;
        let answer = &chunk[..count?];
        if answer.is_empty() {
            return Ok(());
        }
        to.write_all(answer).await?;
    }
}

/// How many were lost before this one; `None` when this one is not to be.
fn count_lost(question: &[u8], state: &State) -> Option<u64> {
    let lost = if state.lose_commits.load(Relaxed) && is_commit(question) {
        &state.commits
    } else if state.lose_answers.load(Relaxed) {
        &state.answers
    } else {
        return None;
    };
    Some(lost.fetch_add(1, Relaxed))
}

fn is_commit(question: &[u8]) -> bool {
    question
        .windows(6)
        .any(|word| word.eq_ignore_ascii_case(b"commit"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut reader, mut writer) = stream.split();
                    tokio::io::copy(&mut reader, &mut writer).await
                });
            }
        });
        address
    }

    /// What comes back; `None` when the connection was closed instead.
    async fn ask(stream: &mut TcpStream, question: &[u8]) -> Option<Vec<u8>> {
        stream.write_all(question).await.ok()?;
        let mut answer = vec![0; question.len()];
        stream.read_exact(&mut answer).await.ok()?;
        Some(answer)
    }

    #[tokio::test]
    async fn passes_cuts_loses_and_refuses() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let connect = || TcpStream::connect(proxy.address);
        let mut stream = connect().await.unwrap();
        assert_eq!(
            ask(&mut stream, b"COMMIT").await.as_deref(),
            Some(&b"COMMIT"[..])
        );
        proxy.cut();
        assert_eq!(ask(&mut stream, b"hello").await, None);

        let mut stream = connect().await.unwrap();
        let window = Duration::from_millis(300);
        let asked = async {
            assert!(ask(&mut stream, b"UPDATE").await.is_some());
            assert_eq!(ask(&mut stream, b"Q commit").await, None);
        };
        tokio::join!(proxy.lose_commits(window), asked);

        let refused = async {
            let mut stream = connect().await.unwrap();
            assert_eq!(ask(&mut stream, b"hello").await, None);
        };
        tokio::join!(proxy.refuse(window), refused);
        let mut stream = connect().await.unwrap();
        assert!(ask(&mut stream, b"hello").await.is_some());
        let cuts = proxy.cuts();
        assert_eq!((cuts.closed, cuts.commits, cuts.refused), (1, 1, 1));
    }

    #[tokio::test]
    async fn is_silent_in_either_direction_and_late() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let window = Duration::from_millis(400);
        for hold in [
            Hold::SILENCE,
            Hold {
                answers: false,
                ..Hold::SILENCE
            },
            Hold {
                questions: false,
                ..Hold::SILENCE
            },
            Hold {
                delay: Duration::from_millis(200),
                ..Hold::default()
            },
        ] {
            let mut old = TcpStream::connect(proxy.address).await.unwrap();
            assert!(ask(&mut old, b"hello").await.is_some());
            let held = proxy.cuts().held;
            let mut new = None;
            let asked = async {
                sleep(window / 4).await;
                // It is accepted, but there is nobody.
                let new = new.insert(TcpStream::connect(proxy.address).await.unwrap());
                for stream in [&mut old, new] {
                    let asked = timeout(window / 4, ask(stream, b"hello")).await;
                    assert!(asked.is_err(), "{hold:?}");
                }
                while proxy.cuts().held < held + 2 {
                    sleep(Duration::from_millis(5)).await;
                }
                proxy.cut();
            };
            proxy.hold(hold);
            asked.await;
            sleep(window / 4).await;
            proxy.hold(Hold::default());
            // What was held back arrives; but those that were merely late could be cut.
            let mut answer = [0; 5];
            for stream in [&mut old, new.as_mut().unwrap()] {
                let came = stream.read_exact(&mut answer).await.is_ok();
                assert_eq!(came, hold.delay.is_zero(), "{hold:?}");
            }
        }
        assert!(proxy.cuts().held >= 8);
    }
}
