//! Owns the same viewers in several seats, one for each way out: what forwarding a packet to one of
//! them costs, from the log through plane, cipher and kernel.

use io::probe::{Backend, Probe};
use io::route::Router;
use io::{Mmsg, PortConfig, Socket, SocketConfig, Uring, Xdp, XdpConfig};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use crate::cpu::spent_ns;
use crate::rig::{Audience, Rig};

/// A way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A backend's socket.
    Socket(Backend),
    /// AF_XDP.
    Xdp,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(backend) => backend.fmt(f),
            Self::Xdp => f.write_str("xdp"),
        }
    }
}

/// A seat for each way out.
pub struct Seats {
    mmsg: Rig<Mmsg>,
    uring: Result<Rig<Uring>, String>,
    xdp: Result<(Rig<Xdp<Mmsg>>, Router), String>,
}

impl Seats {
    /// Seats the audience once for each way out. `note` is called with what AF_XDP has to say;
    /// without it, that way is not tried: it takes seconds to find that there is none.
    ///
    /// # Errors
    /// There is no memory, or not even a plain socket.
    pub fn new(audience: &Audience, note: Option<fn(&str)>) -> Result<Self, String> {
        let config = PortConfig::default();
        let uring = Probe::run().io_uring;
        Ok(Self {
            mmsg: Rig::try_new(audience, |bell| Mmsg::new(socket()?, bell, &config))?,
            uring: uring
                .and_then(|()| Rig::try_new(audience, |bell| Uring::new(socket()?, bell, &config))),
            xdp: note
                .ok_or_else(|| "not asked for".to_owned())
                .and_then(|note| xdp(audience, &config, note)),
        })
    }

    /// The ways out that there are.
    #[must_use]
    pub fn ways(&self) -> Vec<Way> {
        let mut ways = vec![Way::Socket(Backend::Mmsg)];
        ways.extend(self.uring.is_ok().then_some(Way::Socket(Backend::Uring)));
        ways.extend(self.xdp.is_ok().then_some(Way::Xdp));
        ways
    }

    /// The ways that there are not, and why.
    #[must_use]
    pub fn lacks(&self) -> Vec<(Way, &str)> {
        let uring = self.uring.as_ref().err();
        let xdp = self.xdp.as_ref().err();
        let uring = uring.map(|why| (Way::Socket(Backend::Uring), &why[..]));
        uring
            .into_iter()
            .chain(xdp.map(|why| (Way::Xdp, &why[..])))
            .collect()
    }

    /// Nanoseconds of processor time for a packet to a viewer, in bursts of `burst`, over about
    /// `packets` packets, fewer if the viewers would be taken for gone; and how many have been
    /// sent, those that warmed the caches among them.
    ///
    /// # Errors
    /// There is no such way, it does not send, or nothing of the viewers' time is left.
    pub fn forward(&mut self, way: Way, burst: u32, packets: u64) -> Result<(f64, u64), String> {
        match (way, &mut self.uring, &mut self.xdp) {
            (Way::Socket(Backend::Mmsg), ..) => forward(&mut self.mmsg, burst, packets),
            (Way::Socket(Backend::Uring), Ok(rig), _) => forward(rig, burst, packets),
            (Way::Xdp, _, Ok((rig, _))) => forward(rig, burst, packets),
            (Way::Socket(Backend::Uring), Err(why), _) | (Way::Xdp, _, Err(why)) => {
                Err(why.clone())
            }
        }
    }

    /// What went wrong in all seats since the start.
    #[must_use]
    pub fn troubles(&self) -> Vec<(&'static str, u64)> {
        let mut all = self.mmsg.troubles();
        all.extend(self.uring.iter().flat_map(Rig::troubles));
        all.extend(self.xdp.iter().flat_map(|(rig, _)| rig.troubles()));
        all
    }
}

fn forward<P: io::Port>(rig: &mut Rig<P>, burst: u32, packets: u64) -> Result<(f64, u64), String> {
    let viewers = rig.viewers().max(1);
    // One burst warms the caches for this way.
    let left = (rig.packets_left() / u64::from(burst)).saturating_sub(1);
    let bursts = (packets / viewers / u64::from(burst)).max(1).min(left);
    if bursts == 0 {
        return Err("the viewers' time is over".to_owned());
    }
    rig.try_burst(burst)?;
    let mut sent = Ok(());
    let ns = spent_ns(|| sent = (0..bursts).try_for_each(|_| rig.try_burst(burst)));
    sent?;
    let of_burst = u64::from(burst) * viewers;
    Ok((
        ns as f64 / (bursts * of_burst) as f64,
        (bursts + 1) * of_burst,
    ))
}

fn socket() -> Result<Socket, io::Error> {
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    Socket::bind(any, &SocketConfig::default())
}

/// A rig that sends by AF_XDP, or why there is none to these viewers.
///
/// # Errors
/// What is missing, or by which other way packets leave.
pub fn xdp(
    audience: &Audience,
    config: &PortConfig,
    note: fn(&str),
) -> Result<(Rig<Xdp<Mmsg>>, Router), String> {
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let sockets = Socket::bind_all(any, 1, &SocketConfig::default());
    let mut sockets = sockets.map_err(|error| error.to_string())?;
    let xdp = XdpConfig {
        checksum: true,
        note,
    };
    let (router, mut ends) = Router::start(&sockets, xdp).map_err(|error| error.to_string())?;
    let (Some(socket), Some(end)) = (sockets.pop(), ends.pop()) else {
        return Err("no socket".to_owned());
    };
    let mut rig = Rig::try_new(audience, |bell| {
        let under = Mmsg::new(socket, bell, config)?;
        Ok::<_, io::Error>(Xdp::new(under, end, audience.viewers))
    })?;
    rig.warm_xdp()?;
    Ok((rig, router))
}
