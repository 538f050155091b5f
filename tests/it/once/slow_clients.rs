//! Connections over TCP: what keeps the server waiting is closed, and who waits for the server is served.

use std::{
    net::{IpAddr, SocketAddr},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use renewd::config::Config;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::support::{ROOT_KEY, TestServer, embedded, new_app};

const PING: &str = "GET /ping HTTP/1.1\r\nhost: x\r\n\r\n";
/// Longer than any test waits.
const NEVER: u32 = 600;
/// How late a connection may be closed whose time is over: two cores are shared by many.
const LATE: Duration = Duration::from_secs(4);

/// The API, served on a port.
struct Served {
    server: TestServer,
    address: SocketAddr,
    shutdown: CancellationToken,
    thread: JoinHandle<std::io::Result<()>>,
}

impl Served {
    /// With deadlines that are never over, but for those that `change` shortens.
    async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let server = TestServer::start_with(|config| {
            config.request_head_timeout = NEVER;
            config.request_body_timeout = NEVER;
            config.response_timeout = NEVER;
            config.idle_timeout = NEVER;
            change(config);
        });
        let server = server.await;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let (app, stop) = (server.app.clone(), shutdown.clone());
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                renewd::serve(app, listener, None, stop).await
            })
        });
        Self {
            server,
            address,
            shutdown,
            thread,
        }
    }

    async fn connect(&self) -> Client {
        self.connect_from("127.0.0.1").await
    }

    /// Of the network 127.0.0.0/8, all of which is this machine.
    async fn connect_from(&self, ip: &str) -> Client {
        let socket = TcpSocket::new_v4().unwrap();
        let ip: IpAddr = ip.parse().unwrap();
        socket.bind((ip, 0).into()).unwrap();
        // Little fits into it: a client that does not read is noticed soon.
        socket.set_recv_buffer_size(4096).unwrap();
        Client(socket.connect(self.address).await.unwrap())
    }

    /// How often connections were closed for this reason.
    fn closed(&self, reason: &str) -> usize {
        let label =
            format!("http_connections_closed_total{{listener=\"api\",reason=\"{reason}\"}}");
        self.counted(&label)
    }

    fn counted(&self, label: &str) -> usize {
        let text = self.server.app.metrics.exposition();
        let value = text.lines().find_map(|line| {
            let rest = line.strip_prefix("renewd_")?.strip_prefix(label)?;
            rest.trim().parse().ok()
        });
        value.unwrap_or(0)
    }

    /// Waits until so many connections are open.
    async fn await_open(&self, count: usize) {
        let since = Instant::now();
        while self.counted("http_connections{listener=\"api\"}") != count {
            assert!(
                since.elapsed() < LATE,
                "{}",
                self.server.app.metrics.exposition()
            );
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.ended().await;
    }

    /// Waits until the server has ended.
    async fn ended(self) {
        let joined = tokio::task::spawn_blocking(|| self.thread.join());
        joined.await.unwrap().unwrap().unwrap();
    }
}

/// A connection, used by the letter.
struct Client(TcpStream);

impl Client {
    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// An answer with its body, which has a length.
    async fn answer(&mut self) -> String {
        let mut answer = Vec::new();
        let mut wanted = None;
        while wanted.is_none_or(|wanted| answer.len() < wanted) {
            let byte = timeout(LATE, self.0.read_u8()).await.unwrap().unwrap();
            answer.push(byte);
            if wanted.is_none() && answer.ends_with(b"\r\n\r\n") {
                let head = String::from_utf8(answer.clone()).unwrap();
                let length = head.lines().find_map(|line| {
                    let value = line.to_lowercase();
                    value
                        .strip_prefix("content-length: ")?
                        .parse::<usize>()
                        .ok()
                });
                wanted = Some(answer.len() + length.unwrap_or(0));
            }
        }
        String::from_utf8(answer).unwrap()
    }

    async fn ask(&mut self, text: &str) -> String {
        self.send(text).await;
        self.answer().await
    }

    /// What is received until the server closes the connection.
    async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // A connection that is reset is closed as well.
        let _ = timeout(LATE + LATE, self.0.read_to_end(&mut bytes))
            .await
            .unwrap();
        bytes
    }

    /// Asserts that the server closes it without a word, `seconds` after `since`.
    async fn assert_closed(mut self, since: Instant, seconds: u64) {
        assert_eq!(String::from_utf8_lossy(&self.rest().await), "");
        let (took, limit) = (since.elapsed(), Duration::from_secs(seconds));
        // The server may have begun to count before `since`.
        let soonest = limit.saturating_sub(Duration::from_millis(200));
        assert!(took >= soonest, "closed after {took:?}");
        assert!(took < limit + LATE, "closed after {took:?}");
    }

    /// Whether the server has not closed it.
    async fn is_open(&mut self) -> bool {
        let read = timeout(Duration::from_millis(50), self.0.read_u8()).await;
        assert!(!matches!(read, Ok(Ok(_))), "nothing is to be read");
        read.is_err()
    }
}

/// From the accept, however the client drips; and of a later request from its first byte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_has_an_end() {
    let served = Served::start(|config| config.request_head_timeout = 1).await;
    let since = Instant::now();
    let silent = served.connect().await;
    let mut begun = served.connect().await;
    begun.send("GET /ping HTTP/1.1\r\nhost").await;
    let dripping = served.connect().await;
    let drip = tokio::spawn(async move {
        let closed = || dripping.0.try_read(&mut [0; 9]).is_ok();
        while !closed() {
            if dripping.0.try_write(b"G").is_err() {
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        since.elapsed()
    });
    silent.assert_closed(since, 1).await;
    begun.assert_closed(since, 1).await;
    let dripped = drip.await.unwrap();
    assert!((1.0..5.0).contains(&dripped.as_secs_f64()), "{dripped:?}");

    // The time between two requests is no part of it.
    let mut kept = served.connect().await;
    let mut pipelining = served.connect().await;
    assert!(kept.ask(PING).await.ends_with("pong"));
    assert!(
        pipelining
            .ask(&format!("{PING}GET /p"))
            .await
            .ends_with("pong")
    );
    let since_pipelined = Instant::now();
    sleep(Duration::from_millis(1500)).await;
    pipelining.assert_closed(since_pipelined, 0).await;
    assert!(kept.is_open().await);
    let since = Instant::now();
    kept.send("GET /ping HTTP/1.1\r\n").await;
    kept.assert_closed(since, 1).await;
    assert_eq!(served.closed("head"), 5);
    served.await_open(0).await;
    served.stop().await;
}

/// As a whole, however the client drips; and what needs no body waits for none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_has_an_end() {
    let served = Served::start(|config| config.request_body_timeout = 2).await;
    let head = |rest: &str| {
        format!(
            "POST /root/create HTTP/1.1\r\nhost: x\r\nauthorization: {ROOT_KEY}\r\n\
             content-type: application/json\r\n{rest}\r\n\r\n"
        )
    };
    let since = Instant::now();
    let mut sized = served.connect().await;
    sized.send(&head("content-length: 50")).await;
    let mut chunked = served.connect().await;
    chunked.send(&head("transfer-encoding: chunked")).await;
    for _ in 0..6 {
        sized.send("{").await;
        chunked.send("1\r\n \r\n").await;
        sleep(Duration::from_millis(100)).await;
    }
    sized.assert_closed(since, 2).await;
    chunked.assert_closed(since, 2).await;
    assert_eq!(served.closed("body"), 2);

    // Once the body is here, the time is the server's; and the next request has its own.
    let mut client = served.connect().await;
    for _ in 0..2 {
        let body = new_app().to_string();
        let length = format!("content-length: {}", body.len());
        client.send(&head(&length)).await;
        sleep(Duration::from_millis(1200)).await;
        assert!(client.ask(&body).await.starts_with("HTTP/1.1 200 "));
    }
    assert!(client.is_open().await);
    // Who may not send is told at once, not when the body is here.
    let refused = head("content-length: 50").replace(ROOT_KEY, "wrong");
    assert!(client.ask(&refused).await.starts_with("HTTP/1.1 403 "));
    assert_eq!(served.closed("body"), 2);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_not_idle_for_ever() {
    let served = Served::start(|config| config.idle_timeout = 1).await;
    let mut client = served.connect().await;
    for _ in 0..3 {
        sleep(Duration::from_millis(500)).await;
        assert!(client.ask(PING).await.ends_with("pong"));
    }
    client.assert_closed(Instant::now(), 1).await;
    assert_eq!(served.closed("idle"), 1);
    served.stop().await;
}

/// The answers to who does not read them do not pile up, and the connection ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_is_not_waited_for() {
    let served = Served::start(|config| config.response_timeout = 1).await;
    let mut client = served.connect().await;
    let asked = "GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(200);
    client.send(&asked).await;
    let since = Instant::now();
    while served.closed("write") == 0 {
        assert!(since.elapsed() < LATE, "not closed");
        sleep(Duration::from_millis(20)).await;
    }
    assert!(since.elapsed() >= Duration::from_millis(900));
    let answered = served
        .counted("http_requests_total{method=\"GET\",route=\"/openapi.json\",status=\"200\"}");
    assert!(answered < 100, "{answered} answers were made");

    // Who is slow, and reads on, gets all of it.
    let mut client = served.connect().await;
    client.send(&asked[..asked.len() / 20]).await;
    sleep(Duration::from_millis(500)).await;
    for _ in 0..10 {
        assert!(client.answer().await.starts_with("HTTP/1.1 200 "));
    }
    assert!(client.is_open().await);
    assert_eq!(served.closed("write"), 1);
    served.stop().await;
}

/// The one goes that has used up most of its time: half-sent requests have less of it than idle connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_makes_room() {
    let served = Served::start(|config| {
        config.max_connections = 4;
        config.max_connections_per_address = 9;
        config.request_head_timeout = NEVER / 10;
    });
    let served = served.await;
    let mut idle = served.connect().await;
    idle.ask(PING).await;
    let mut half_sent = Vec::new();
    for count in 2..=4 {
        let mut client = served.connect().await;
        client.send("GET /ping HTTP/1.1\r\n").await;
        half_sent.push(client);
        // Accepted, and older than the next one.
        served.await_open(count).await;
        sleep(Duration::from_millis(50)).await;
    }
    // Until the server has all of it, and works on it.
    sleep(Duration::from_secs(1)).await;
    let mut newcomers = Vec::new();
    for _ in 0..3 {
        let mut client = served.connect().await;
        assert!(client.ask(PING).await.ends_with("pong"));
        let oldest = half_sent.remove(0);
        oldest.assert_closed(Instant::now(), 0).await;
        newcomers.push(client);
        for client in half_sent.iter_mut().chain(&mut newcomers) {
            assert!(client.is_open().await);
        }
        assert!(idle.is_open().await);
    }
    let mut last = served.connect().await;
    assert!(last.ask(PING).await.ends_with("pong"));
    idle.assert_closed(Instant::now(), 0).await;
    assert_eq!(served.closed("max_connections"), 4);
    served.await_open(4).await;
    served.stop().await;
}

/// Who waits for an answer keeps the place: the newcomer waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_an_answer_is_not_closed() {
    let served = Served::start(|config| {
        embedded(config);
        config.max_connections = 1;
        config.max_connections_per_address = 2;
    });
    let served = served.await;
    let mut working = served.connect().await;
    let writer = served.server.app.store.begin().await.unwrap();
    let body = new_app().to_string();
    let head = format!(
        "POST /root/create HTTP/1.1\r\nhost: x\r\nauthorization: {ROOT_KEY}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    working.send(&head).await;
    working.send(&body).await;
    // Until the server has all of it, and works on it.
    sleep(Duration::from_secs(1)).await;
    let mut newcomer = served.connect().await;
    newcomer.send(PING).await;
    assert!(newcomer.is_open().await);
    assert!(working.is_open().await);
    writer.rollback().await.unwrap();
    assert!(working.answer().await.starts_with("HTTP/1.1 200 "));
    assert!(newcomer.answer().await.ends_with("pong"));
    working.assert_closed(Instant::now(), 0).await;
    served.stop().await;
}

/// An address takes the places of its own connections only; a proxy that is trusted speaks for many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_has_its_part() {
    let served = Served::start(|config| {
        embedded(config);
        config.max_connections = 100;
        config.max_connections_per_address = 2;
        config.trusted_proxies = vec!["127.0.0.9/32".parse().unwrap()];
    });
    let served = served.await;
    let (mut neighbour, mut first, mut second) = (
        served.connect_from("127.0.0.2").await,
        served.connect().await,
        served.connect().await,
    );
    neighbour.ask(PING).await;
    first.send("GET ").await;
    second.ask(PING).await;
    sleep(Duration::from_millis(300)).await;
    let mut third = served.connect().await;
    assert!(third.ask(PING).await.ends_with("pong"));
    first.assert_closed(Instant::now(), 0).await;
    assert!(neighbour.is_open().await && second.is_open().await && third.is_open().await);
    assert_eq!(served.closed("max_connections_per_address"), 1);

    // Where all of them wait for an answer, there is no place for one more.
    let writer = served.server.app.store.begin().await.unwrap();
    let body = new_app().to_string();
    let head = format!(
        "POST /root/create HTTP/1.1\r\nhost: x\r\nauthorization: {ROOT_KEY}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    second.send(&head).await;
    third.send(&head).await;
    // Until the server has all of both, and works on them.
    sleep(Duration::from_secs(1)).await;
    served
        .connect()
        .await
        .assert_closed(Instant::now(), 0)
        .await;
    assert!(neighbour.ask(PING).await.ends_with("pong"));
    assert_eq!(served.closed("max_connections_per_address"), 2);
    writer.rollback().await.unwrap();
    assert!(second.answer().await.starts_with("HTTP/1.1 200 "));
    assert!(third.answer().await.starts_with("HTTP/1.1 200 "));

    let mut proxied = Vec::new();
    for _ in 0..5 {
        let mut client = served.connect_from("127.0.0.9").await;
        client.ask(PING).await;
        proxied.push(client);
    }
    for client in &mut proxied {
        assert!(client.is_open().await);
    }
    served.await_open(8).await;
    served.stop().await;
}

/// Who asked is answered; who did not is let go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_finishes_what_is_under_way() {
    let served = Served::start(|_| ()).await;
    let mut idle = served.connect().await;
    idle.ask(PING).await;
    let silent = served.connect().await;
    let mut asking = served.connect().await;
    asking.send("GET /ping HTTP/1.1\r\nhost: x\r\n").await;
    served.await_open(3).await;
    sleep(Duration::from_millis(100)).await;
    let since = Instant::now();
    served.shutdown.cancel();
    idle.assert_closed(since, 0).await;
    silent.assert_closed(since, 0).await;
    assert!(TcpStream::connect(served.address).await.is_err());
    let answer = asking.ask("\r\n").await;
    assert!(
        answer.to_lowercase().contains("\r\nconnection: close\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with("pong"), "{answer}");
    asking.assert_closed(since, 0).await;
    served.ended().await;
    assert!(since.elapsed() < LATE);
}

/// A half-sent request is waited for no longer than for ten seconds; this one has one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_does_not_wait_for_half_sent_requests_for_ever() {
    let served = Served::start(|config| config.request_head_timeout = 1).await;
    let mut half_sent = served.connect().await;
    half_sent.send("GET").await;
    served.await_open(1).await;
    served.stop().await;
    half_sent.assert_closed(Instant::now(), 0).await;
}

/// RFC 9112: several requests at once, interim answers, HEAD, and messages whose length two parties would read differently.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_protocol_is_kept() {
    let served = Served::start(|_| ()).await;
    let mut client = served.connect().await;
    client.send(&PING.repeat(3)).await;
    for _ in 0..3 {
        let answer = client.answer().await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\npong"));
    }
    client.send("HEAD /ping HTTP/1.1\r\nhost: x\r\n\r\n").await;
    client.send(PING).await;
    let mut answers = String::new();
    while !answers.ends_with("pong") {
        answers.push(char::from(client.0.read_u8().await.unwrap()));
    }
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    assert_eq!(answers.matches("pong").count(), 1, "{answers}");

    let body = new_app().to_string();
    let head = format!(
        "POST /root/create HTTP/1.1\r\nhost: x\r\nauthorization: {ROOT_KEY}\r\n\
         content-type: application/json\r\n"
    );
    let expecting = format!(
        "{head}content-length: {}\r\nexpect: 100-continue\r\n\r\n",
        body.len()
    );
    assert_eq!(
        client.ask(&expecting).await,
        "HTTP/1.1 100 Continue\r\n\r\n"
    );
    assert!(client.ask(&body).await.starts_with("HTTP/1.1 200 "));
    let too_large = format!("{head}content-length: 65537\r\nexpect: 100-continue\r\n\r\n");
    assert!(client.ask(&too_large).await.starts_with("HTTP/1.1 413 "));

    let old = "GET /ping HTTP/1.0\r\n\r\n";
    let mut client = served.connect().await;
    assert!(client.ask(old).await.ends_with("pong"));
    client.assert_closed(Instant::now(), 0).await;

    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let smuggled = format!("0\r\n\r\n{PING}");
    for (lines, body, expected) in [
        ("transfer-encoding: chunked\r\n", &chunked, "200"),
        (
            "content-length: 4\r\ntransfer-encoding: chunked\r\n",
            &smuggled,
            "400",
        ),
        (
            "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
            &smuggled,
            "400",
        ),
        (
            "content-length: 4\r\ncontent-length: 5\r\n",
            &smuggled,
            "400",
        ),
        ("content-length: +4\r\n", &smuggled, "400"),
        ("transfer-encoding: identity, x\r\n", &smuggled, "400"),
        ("transfer-encoding : chunked\r\n", &smuggled, "400"),
        (&format!("x: {}\r\n", "y".repeat(66_000)), &smuggled, "431"),
    ] {
        let mut client = served.connect().await;
        let answer = client.ask(&format!("{head}{lines}\r\n{body}")).await;
        let start = format!("HTTP/1.1 {expected} ");
        assert!(answer.starts_with(&start), "{lines:.40}: {answer}");
        if expected != "200" {
            assert_eq!(
                String::from_utf8_lossy(&client.rest().await),
                "",
                "{lines:.40}"
            );
        }
    }
    served.stop().await;
}
