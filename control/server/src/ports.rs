//! Owns the ports of a node: the supervisor binds them and lends them to whichever process serves
//! them, so that what comes between two of those waits in the kernel.

use crate::config::Config;
use crate::srt;
use link::keeper::Keeper;
use link::region::Role;
use socket2::{Domain, Protocol, Type};
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use worker::{Socket, SocketConfig};

/// A process that has just ended may hold its ports a little longer: the kernel takes rings of
/// io_uring apart in the background, with the sockets in them. Whoever is started again at once
/// waits so long.
const RELEASE: Duration = Duration::from_secs(1);

/// Between two looks.
const RELEASE_LOOK: Duration = Duration::from_millis(10);

/// Connections that may wait to be accepted: a second of a storm of viewers, while control is
/// replaced.
const BACKLOG: i32 = 1024;

/// The ports of a node.
pub struct Ports {
    media: Vec<Socket>,
    http: TcpListener,
    srt: UdpSocket,
}

impl Ports {
    /// Binds all of them; of the media port a socket for each of `cores`.
    ///
    /// Nobody else may have one: of two forwarders on one UDP port each would get half of the
    /// other's viewers, since their sockets agree to share it.
    ///
    /// # Errors
    /// Another program has one, or the host does not give it: with the key to set.
    pub fn bind(config: &Config, cores: usize) -> io::Result<Self> {
        let address = config.http.listen.resolve();
        let http = patiently(|| listen(address)).map_err(|e| refuse("http.listen", address, e))?;
        let address = config.srt.listen.resolve();
        let srt = patiently(|| srt::bind(address)).map_err(|e| refuse("srt.listen", address, e))?;
        let address = config.media.listen.resolve();
        let alone = patiently(|| UdpSocket::bind(address));
        drop(alone.map_err(|e| refuse("media.listen", address, e))?);
        let busy_poll_us = config.media.busy_poll_us;
        let sizes = SocketConfig {
            busy_poll_us,
            ..SocketConfig::default()
        };
        let media = Socket::bind_all(address, cores, &sizes)
            .map_err(|e| io::Error::other(format!("media port {address}: {e}")))?;
        if media.iter().any(|s| s.busy_poll_us() < busy_poll_us) {
            tracing::warn!("media.busy_poll_us: the kernel refuses it, CAP_NET_ADMIN is needed");
        }
        Ok(Self { media, http, srt })
    }

    /// Lends them to those who serve them.
    pub fn lend(self, keeper: &mut Keeper) {
        for socket in self.media {
            keeper.lend(Role::Forwarder, socket.into());
        }
        keeper.lend(Role::Control, self.http.into());
        keeper.lend(Role::Control, self.srt.into());
    }
}

/// The sockets that were lent to a forwarder, by core.
///
/// # Errors
/// They are none.
pub fn of_forwarder(lent: Vec<OwnedFd>) -> io::Result<Vec<Socket>> {
    let sockets = lent.into_iter().map(Socket::adopt);
    sockets
        .collect::<Result<_, _>>()
        .map_err(|e| io::Error::other(format!("media port: {e}")))
}

/// What was lent to control: HTTP and SRT.
///
/// # Errors
/// They are none.
pub fn of_control(lent: Vec<OwnedFd>) -> io::Result<(tokio::net::TcpListener, UdpSocket)> {
    let Ok([http, srt]) = <[OwnedFd; 2]>::try_from(lent) else {
        return Err(io::Error::other("the keeper of the link lends no ports"));
    };
    let http = tokio::net::TcpListener::from_std(TcpListener::from(http))?;
    Ok((http, UdpSocket::from(srt)))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = Domain::for_address(address);
    let socket = socket2::Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    // Connections of a life before are no reason not to listen again.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Binds, and waits for a port that is taken to be given back: [`RELEASE`] at most.
fn patiently<T>(bind: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let end = Instant::now() + RELEASE;
    loop {
        match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < end => {
                std::thread::sleep(RELEASE_LOOK);
            }
            other => return other,
        }
    }
}

fn refuse(key: &str, address: SocketAddr, error: io::Error) -> io::Error {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program has it, perhaps another Freshet (see `ss -lutnp`): stop it, or"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE: give it that, or"
        }
        _ => "this host does not give it:",
    };
    io::Error::new(
        error.kind(),
        format!("cannot listen at {address}: {error}; {remedy} set {key}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_given_back_is_waited_for() {
        let held = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = held.local_addr().unwrap();
        let letting_go = std::thread::spawn(move || {
            std::thread::sleep(RELEASE / 5);
            drop(held);
        });
        let bound = patiently(|| UdpSocket::bind(address));
        assert_eq!(bound.unwrap().local_addr().unwrap(), address);
        letting_go.join().unwrap();
    }

    #[test]
    fn a_port_that_stays_taken_is_refused_with_its_key() {
        let held = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut config = Config::default();
        config.http.listen = "127.0.0.1:0".parse().unwrap();
        config.srt.listen = "127.0.0.1:0".parse().unwrap();
        config.media.listen = held.local_addr().unwrap().to_string().parse().unwrap();
        let began = Instant::now();
        let said = Ports::bind(&config, 1).err().unwrap().to_string();
        assert!(began.elapsed() >= RELEASE);
        assert!(
            said.contains("another program has it") && said.contains("media.listen"),
            "{said}"
        );
    }
}
