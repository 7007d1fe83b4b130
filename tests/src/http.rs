//! Owns a small HTTP/1.1 client: one request, one connection, one answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Longer than any answer of ours takes, even on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Header fields in their order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, its transfer coding undone.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header field of this name (in lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let field = self.headers.iter().find(|(key, _)| key == name);
        field.map(|(_, value)| &value[..])
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {}: {}", self.status, self.text()))
    }
}

/// Asks for a path.
///
/// # Errors
/// When no whole answer comes.
pub fn get(to: SocketAddr, path: &str) -> Result<Answer, String> {
    request(to, "GET", path, &[], b"")
}

/// Sends a request and reads the answer to its end.
///
/// # Errors
/// When no whole answer comes; says how far it got.
pub fn request(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer, String> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).map_err(|e| format!("{to}: {e}"))?;
    talk(&mut stream, &to.to_string(), method, path, headers, body)
}

/// The same on a connection that is there already.
///
/// # Errors
/// When no whole answer comes; says how far it got.
pub fn talk(
    stream: &mut TcpStream,
    host: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer, String> {
    stream
        .set_read_timeout(Some(PATIENCE))
        .map_err(|e| e.to_string())?;
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("content-length: {}\r\n\r\n", body.len());
    let mut whole = head.into_bytes();
    whole.extend_from_slice(body);
    // A server that refuses a long body may close before it has read it: its answer counts.
    let written = stream.write_all(&whole);
    let answer = receive(stream);
    match (written, answer) {
        (_, Ok(answer)) => Ok(answer),
        (Err(error), Err(_)) => Err(format!("{method} {path}: {error}")),
        (Ok(()), Err(error)) => Err(format!("{method} {path}: {error}")),
    }
}

/// Sends bytes as they are and gives whatever comes back before the connection is closed or
/// `patience` is over. For tests of what is no HTTP.
#[must_use]
pub fn raw(to: SocketAddr, bytes: &[u8], patience: Duration) -> Vec<u8> {
    let mut got = Vec::new();
    if let Ok(mut stream) = TcpStream::connect_timeout(&to, PATIENCE) {
        // Whatever goes wrong here, what came back is what the test looks at.
        let _ = stream.set_read_timeout(Some(patience));
        let _ = stream.write_all(bytes);
        let _ = stream.read_to_end(&mut got);
    }
    got
}

fn receive(stream: &mut TcpStream) -> Result<Answer, String> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = find(&bytes, b"\r\n\r\n") {
            break at;
        }
        if read_some(stream, &mut bytes)? == 0 {
            return Err(format!(
                "closed within the head: {}",
                String::from_utf8_lossy(&bytes)
            ));
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut body = bytes.split_off(head_end + 4);
    let mut lines = head.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| format!("no status: {status_line}"))?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut answer = Answer {
        status,
        headers,
        body: Vec::new(),
    };
    let length = answer
        .header("content-length")
        .and_then(|value| value.parse::<usize>().ok());
    let chunked = answer.header("transfer-encoding").is_some();
    loop {
        let is_whole = match length {
            Some(length) if !chunked => body.len() >= length,
            _ => status == 204 || status == 304 || (chunked && body.ends_with(b"0\r\n\r\n")),
        };
        if is_whole || read_some(stream, &mut body)? == 0 {
            break;
        }
    }
    answer.body = if chunked { unchunk(&body)? } else { body };
    Ok(answer)
}

fn read_some(stream: &mut TcpStream, into: &mut Vec<u8>) -> Result<usize, String> {
    let mut buffer = [0; 16384];
    let count = stream
        .read(&mut buffer)
        .map_err(|error| error.to_string())?;
    into.extend_from_slice(&buffer[..count]);
    Ok(count)
}

fn unchunk(mut body: &[u8]) -> Result<Vec<u8>, String> {
    let mut whole = Vec::new();
    loop {
        let line_end = find(body, b"\r\n").ok_or("a chunk without a size")?;
        let size = String::from_utf8_lossy(&body[..line_end]);
        let size = usize::from_str_radix(size.trim(), 16).map_err(|error| error.to_string())?;
        if size == 0 {
            return Ok(whole);
        }
        let start = line_end + 2;
        whole.extend_from_slice(body.get(start..start + size).ok_or("a short chunk")?);
        body = body
            .get(start + size + 2..)
            .ok_or("a chunk without an end")?;
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
