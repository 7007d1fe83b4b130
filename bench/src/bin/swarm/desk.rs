//! Owns HTTP connections that wait for nobody: requests go out as connections are free, answers
//! come back in any order.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};

/// Longest answer that is read; those of a server are a tenth of it.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Tries of one request whose connection was closed before any of the answer came: the server
/// closes those that were idle.
const TRIES_MAX: u32 = 3;

/// A request, and what is to be known when its answer comes.
#[derive(Debug)]
pub struct Ask<T> {
    /// For the asker.
    pub task: T,
    /// Head and body.
    pub bytes: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub struct Reply<T> {
    /// Of [`Ask`].
    pub task: T,
    /// What was answered, or why nothing was.
    pub answer: Result<Answer, String>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    head: String,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The first header field of this name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Connections to one server.
pub struct Desk<T> {
    server: SocketAddr,
    /// A connection for every request.
    is_fresh: bool,
    token: u64,
    connections: Vec<Connection<T>>,
    free: Vec<usize>,
}

struct Connection<T> {
    stream: Option<TcpStream>,
    ask: Option<Ask<T>>,
    written: usize,
    tries: u32,
    got: Vec<u8>,
}

impl<T> Desk<T> {
    /// So many connections at most, none of them made yet. Their tokens begin at `token`.
    pub fn new(server: SocketAddr, connections: usize, is_fresh: bool, token: u64) -> Self {
        let connection = || Connection {
            stream: None,
            ask: None,
            written: 0,
            tries: 0,
            got: Vec::new(),
        };
        Self {
            server,
            is_fresh,
            token,
            connections: (0..connections).map(|_| connection()).collect(),
            free: (0..connections).collect(),
        }
    }

    /// True if a request would go out at once.
    pub fn is_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// True if no answer is awaited.
    pub fn is_idle(&self) -> bool {
        self.free.len() == self.connections.len()
    }

    /// Sends a request. At once there is an answer only if nothing can be sent.
    pub fn ask(&mut self, epoll: &Epoll, ask: Ask<T>) -> Option<Reply<T>> {
        let Some(place) = self.free.pop() else {
            let answer = Err("no connection is free".to_owned());
            let task = ask.task;
            return Some(Reply { task, answer });
        };
        let connection = &mut self.connections[place];
        connection.ask = Some(ask);
        connection.tries = 0;
        self.send(epoll, place)
    }

    /// What a connection is ready for is done; its answer, if it is whole.
    pub fn ready(&mut self, epoll: &Epoll, token: u64) -> Option<Reply<T>> {
        let place = usize::try_from(token.checked_sub(self.token)?).ok()?;
        let connection = self.connections.get_mut(place)?;
        if connection.ask.is_none() {
            // An idle connection has something to say: that it is closed.
            connection.stream = None;
            return None;
        }
        let is_closed = match connection.go_on() {
            Ok(is_closed) => is_closed,
            Err(error) => return self.broken(epoll, place, &error.to_string()),
        };
        match parse(&connection.got, is_closed) {
            Ok(None) if is_closed => self.broken(epoll, place, "closed before the answer"),
            Ok(None) => None,
            Ok(Some((answer, closes))) => {
                if closes || is_closed || self.is_fresh {
                    connection.stream = None;
                }
                self.done(place, Ok(answer))
            }
            Err(why) => {
                connection.stream = None;
                self.done(place, Err(why))
            }
        }
    }

    fn send(&mut self, epoll: &Epoll, place: usize) -> Option<Reply<T>> {
        let connection = &mut self.connections[place];
        connection.tries += 1;
        connection.written = 0;
        connection.got.clear();
        if connection.stream.is_none() {
            match open(self.server, epoll, self.token + place as u64) {
                Ok(stream) => connection.stream = Some(stream),
                Err(error) => return self.done(place, Err(error.to_string())),
            }
        }
        match connection.write() {
            Ok(()) => None,
            Err(error) => self.broken(epoll, place, &error.to_string()),
        }
    }

    fn broken(&mut self, epoll: &Epoll, place: usize, why: &str) -> Option<Reply<T>> {
        let connection = &mut self.connections[place];
        connection.stream = None;
        if connection.got.is_empty() && connection.tries < TRIES_MAX {
            return self.send(epoll, place);
        }
        self.done(place, Err(why.to_owned()))
    }

    fn done(&mut self, place: usize, answer: Result<Answer, String>) -> Option<Reply<T>> {
        let ask = self.connections[place].ask.take()?;
        self.free.push(place);
        let task = ask.task;
        Some(Reply { task, answer })
    }
}

impl<T> Connection<T> {
    fn write(&mut self) -> io::Result<()> {
        let (Some(stream), Some(ask)) = (&mut self.stream, &self.ask) else {
            return Ok(());
        };
        while self.written < ask.bytes.len() {
            match stream.write(&ask.bytes[self.written..]) {
                Ok(count) => self.written += count,
                // Not connected yet, or no room.
                Err(error) if is_later(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes and reads what can be; true if the server has closed.
    fn go_on(&mut self) -> io::Result<bool> {
        self.write()?;
        let Some(stream) = &mut self.stream else {
            return Ok(true);
        };
        let mut buffer = [0; 8192];
        while self.got.len() < ANSWER_BYTES_MAX {
            match stream.read(&mut buffer) {
                Ok(0) => return Ok(true),
                Ok(count) => self.got.extend_from_slice(&buffer[..count]),
                Err(error) if is_later(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("the answer is too long"))
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::NotConnected
    )
}

fn open(server: SocketAddr, epoll: &Epoll, token: u64) -> io::Result<TcpStream> {
    let family = match server {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let descriptor = socket(family, SockType::Stream, flags, None)?;
    match connect(
        std::os::fd::AsRawFd::as_raw_fd(&descriptor),
        &SockaddrStorage::from(server),
    ) {
        Ok(()) | Err(Errno::EINPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let stream = TcpStream::from(descriptor);
    let _ = stream.set_nodelay(true);
    let wanted = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
    epoll.add(stream.as_fd(), EpollEvent::new(wanted, token))?;
    Ok(stream)
}

/// The answer in these bytes, if it is whole, and whether the server closes after it.
fn parse(bytes: &[u8], is_closed: bool) -> Result<Option<(Answer, bool)>, String> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status: u16 = status.ok_or_else(|| format!("no status: {head:.60}"))?;
    let mut answer = Answer {
        status,
        head,
        body: String::new(),
    };
    let rest = &bytes[end + 4..];
    let length = answer.header("content-length");
    let length = length.and_then(|value| value.parse::<usize>().ok());
    let length = match length {
        Some(length) => length,
        None if status == 204 || status == 304 => 0,
        None if is_closed => rest.len(),
        None => return Ok(None),
    };
    let Some(body) = rest.get(..length) else {
        return Ok(None);
    };
    answer.body = String::from_utf8_lossy(body).into_owned();
    let closes = answer.header("connection");
    let closes = closes.is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Ok(Some((answer, closes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_when_it_is_whole() {
        let text =
            "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 4\r\ncontent-length: 2\r\n\r\n";
        assert!(parse(text.as_bytes(), false).unwrap().is_none());
        let whole = format!("{text}no");
        let (answer, closes) = parse(whole.as_bytes(), false).unwrap().unwrap();
        assert_eq!((answer.status, &*answer.body, closes), (503, "no", false));
        assert_eq!(answer.header("retry-after"), Some("4"));
        let empty = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
        let (answer, closes) = parse(empty, false).unwrap().unwrap();
        assert_eq!((answer.status, closes), (204, true));
        assert!(parse(b"garbage\r\n\r\n", true).is_err());
    }
}
