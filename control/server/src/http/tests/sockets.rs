//! Over real connections on loopback: slow, greedy and broken peers.

use super::{OFFER, site_with};
use crate::http::serve;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

async fn start(config: &str) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let site = site_with(config);
    let task = tokio::spawn(serve(listener, site, async move {
        let _ = stopped.await;
    }));
    Server {
        address,
        stop,
        task,
    }
}

const QUICK: &str = "[http]\nheader_timeout_ms = 200\nrequest_timeout_ms = 300\n";

/// Sends `bytes`, then reads until the server closes.
async fn talk(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let ended = tokio::time::timeout(Duration::from_secs(10), read).await;
    ended.expect("the server keeps the connection open").ok();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_whole_exchange_works_and_stopping_is_clean() {
    let server = start("").await;
    let request = format!(
        "POST /whep/demo HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{OFFER}",
        OFFER.len()
    );
    let answer = talk(server.address, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 201 Created"), "{answer}");
    let idle = TcpStream::connect(server.address).await.unwrap();
    server.stop.send(()).unwrap();
    let stopped = tokio::time::timeout(Duration::from_secs(8), server.task).await;
    stopped
        .expect("an idle connection holds the server up")
        .unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
    drop(idle);
}

#[tokio::test]
async fn a_slow_head_is_cut_off() {
    let server = start(QUICK).await;
    let begun = Instant::now();
    let answer = talk(server.address, b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ").await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(!answer.contains("200 OK"), "{answer}");
}

#[tokio::test]
async fn silence_and_idleness_are_cut_off() {
    let server = start(QUICK).await;
    talk(server.address, b"").await;
    let answer = talk(server.address, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.contains("200 OK"), "{answer}");
}

#[tokio::test]
async fn a_slow_body_is_cut_off() {
    let server = start(QUICK).await;
    let head = "POST /whep/demo HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\n\
                Content-Length: 1000\r\n\r\nv=0";
    let answer = talk(server.address, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn a_head_without_measure_is_refused() {
    let server = start(QUICK).await;
    let many = format!(
        "GET / HTTP/1.1\r\nHost: x\r\n{}\r\n",
        "A: b\r\n".repeat(200)
    );
    let answer = talk(server.address, many.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let long = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n",
        "b".repeat(40_000)
    );
    let answer = talk(server.address, long.as_bytes()).await;
    assert!(
        answer.starts_with("HTTP/1.1 431") || answer.is_empty(),
        "{answer}"
    );
}

#[tokio::test]
async fn a_chunked_body_without_end_is_refused() {
    let server = start("").await;
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
    let request = format!(
        "POST /whep/demo HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\n\
         Transfer-Encoding: chunked\r\n\r\n{}",
        chunk.repeat(5)
    );
    let answer = talk(server.address, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn garbage_is_harmless() {
    let server = start(QUICK).await;
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        b"GET \xff\xfe HTTP/1.1\r\n\r\n",
        b"POST /whep/demo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST /whep/demo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        // Two lengths of one request, each of which another reader would believe.
        b"POST /whep/demo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\
          Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /livez HTTP/1.1\r\n\r\n",
    ] {
        let answer = talk(server.address, bytes).await;
        // Refused in the words of HTTP/1.1, or not at all: no other protocol is begun.
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{answer}"
        );
        assert!(!answer.contains("200 OK"), "{answer}");
    }
    let upgrade = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n\
                    Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
    let answer = talk(server.address, upgrade).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = talk(server.address, b"GET /livez HTTP/1.0\r\n\r\n").await;
    assert!(answer.contains("200 OK"), "{answer}");
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_and_places_come_back() {
    let server = start("[http]\nconnections_max = 16\n").await;
    let mut held = Vec::new();
    for _ in 0..16 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream
            .write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        held.push(stream);
    }
    let refused = talk(server.address, b"").await;
    assert_eq!(refused, "");
    held.clear();
    let begun = Instant::now();
    loop {
        let answer = talk(server.address, b"GET /livez HTTP/1.0\r\n\r\n").await;
        if answer.contains("200 OK") {
            break;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "no place came back"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
