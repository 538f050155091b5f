//! Stands between a node and its database, and cuts.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
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
}

#[derive(Debug, Default)]
struct State {
    cut: watch::Sender<()>,
    refuse: AtomicBool,
    lose_commits: AtomicBool,
    lose_answers: AtomicBool,
    closed: AtomicU64,
    commits: AtomicU64,
    answers: AtomicU64,
    refused: AtomicU64,
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

    /// Closes every connection at once.
    pub fn cut(&self) {
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
                if state.refuse.load(Relaxed) {
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
    let (mut client_reader, mut client_writer) = client.split();
    let (mut server_reader, mut server_writer) = server.split();
    let (mut asked, mut answered) = (vec![0; CHUNK], vec![0; CHUNK]);
    loop {
        tokio::select! {
            count = client_reader.read(&mut asked) => {
                let question = &asked[..count?];
                if question.is_empty() {
                    return Ok(());
                }
                server_writer.write_all(question).await?;
                if let Some(count) = count_lost(question, state) {
                    // Half of them are surely carried out by then; with the others it is a race.
                    if count % 2 == 0 {
                        let _ = timeout(CARRIED_OUT, server_reader.read(&mut answered)).await;
                    }
                    return Ok(());
                }
            }
            count = server_reader.read(&mut answered) => {
                let answer = &answered[..count?];
                if answer.is_empty() {
                    return Ok(());
                }
                client_writer.write_all(answer).await?;
            }
        }
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
}
