//! Owns the reading of event streams (WHATWG HTML section 9.2), as `EventSource` does it.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long an event may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A stream of events that is being read.
#[derive(Debug)]
pub struct EventStream {
    lines: BufReader<TcpStream>,
    /// What is left to read of the chunk that was begun.
    text: String,
    is_over: bool,
}

impl EventStream {
    /// Begins to read the event stream at `path`.
    ///
    /// # Errors
    /// What was answered instead.
    pub fn open(to: SocketAddr, path: &str) -> Result<Self, String> {
        let mut socket = TcpStream::connect(to).map_err(|error| error.to_string())?;
        let limit = socket.set_read_timeout(Some(PATIENCE));
        limit.map_err(|error| error.to_string())?;
        let head =
            format!("GET {path} HTTP/1.1\r\nhost: {to}\r\naccept: text/event-stream\r\n\r\n");
        socket
            .write_all(head.as_bytes())
            .map_err(|error| error.to_string())?;
        let mut lines = BufReader::new(socket);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match lines.read_line(&mut head) {
                Ok(0) | Err(_) => return Err(format!("broken off: {head}")),
                Ok(_) => {}
            }
        }
        let head = head.to_ascii_lowercase();
        let is_stream = head.contains("content-type: text/event-stream")
            && head.contains("transfer-encoding: chunked");
        if head.starts_with("http/1.1 200") && is_stream {
            Ok(Self {
                lines,
                text: String::new(),
                is_over: false,
            })
        } else {
            Err(head)
        }
    }

    /// Reads until an event of this name comes and gives its data.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait(&mut self, name: &str) -> Value {
        let (start, mut seen) = (Instant::now(), Vec::new());
        while start.elapsed() < PATIENCE {
            let Some((next, data)) = self.next() else {
                panic!("no {name}, and the stream is over after {seen:?}");
            };
            if next == name {
                return data;
            }
            seen.push(next);
        }
        panic!("no {name} within {PATIENCE:?}, but {seen:?}");
    }

    fn read_chunk(&mut self) {
        let mut size = String::new();
        let read = self.lines.read_line(&mut size);
        let size = match read {
            // The connection is gone: so are the events.
            Ok(0) => 0,
            Ok(_) => usize::from_str_radix(size.trim(), 16)
                .unwrap_or_else(|error| panic!("{error}: {size:?} is no size of a chunk")),
            Err(error) => panic!("no event came: {error}"),
        };
        if size == 0 {
            self.is_over = true;
            return;
        }
        let mut bytes = vec![0; size + 2];
        std::io::Read::read_exact(&mut self.lines, &mut bytes)
            .unwrap_or_else(|error| panic!("a chunk broke off: {error}"));
        self.text += &String::from_utf8_lossy(&bytes[..size]);
    }
}

/// Its events: the name of each, and its data if that is JSON. Ends with the stream; fails the test
/// when nothing comes for too long, or what comes is no event stream.
impl Iterator for EventStream {
    type Item = (String, Value);

    fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let event = event(block);
                self.text = rest.to_owned();
                match event {
                    Some(event) => return Some(event),
                    // A comment, or the time after which to come again.
                    None => continue,
                }
            }
            if self.is_over {
                return None;
            }
            self.read_chunk();
        }
    }
}

fn event(block: &str) -> Option<(String, Value)> {
    let field = |name: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.trim_start().to_owned())
    };
    let data = field("data:").unwrap_or_default();
    let data = serde_json::from_str(&data).unwrap_or(Value::Null);
    Some((field("event:")?, data))
}
