//! Ways as they follow from what a played kernel says, and what workers are told of them.

use super::desk::Desk;
use super::kernel::Kernel;
use super::message::{Link, Neighbour, Route};
use super::resolve::{Hop, Resolver};
use super::{Ask, Told};
use crate::xdp::{Fallback, Mapping, Way};
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use wire::peer::{Ip, Peer};
use wire::time::{Span, Time};

/// What the played kernel knows.
#[derive(Clone)]
struct World {
    links: Vec<Link>,
    addresses: Vec<Ip>,
    route: Option<Route>,
    neighbour: Option<Neighbour>,
    used: Vec<Ip>,
    questions: u32,
}

#[derive(Clone)]
struct Played(Rc<RefCell<World>>);

impl Kernel for Played {
    fn links(&mut self) -> io::Result<Vec<(Link, [u8; 2])>> {
        let links = self.0.borrow().links.clone();
        Ok(links.into_iter().map(|link| (link, [64, 255])).collect())
    }
    fn addresses(&mut self) -> io::Result<Vec<Ip>> {
        Ok(self.0.borrow().addresses.clone())
    }
    fn route(&mut self, _: Ip, _: Option<Ip>) -> io::Result<Option<Route>> {
        self.0.borrow_mut().questions += 1;
        Ok(self.0.borrow().route)
    }
    fn neighbour(&mut self, _: u32, _: Ip) -> io::Result<Option<Neighbour>> {
        self.0.borrow_mut().questions += 1;
        Ok(self.0.borrow().neighbour)
    }
    fn use_neighbour(&mut self, _: u32, ip: Ip) {
        self.0.borrow_mut().used.push(ip);
    }
}

fn ip(text: &str) -> Ip {
    text.parse::<std::net::IpAddr>().unwrap().into()
}

fn link(index: u32) -> Link {
    Link {
        index,
        name: format!("eth{index}"),
        is_up: true,
        is_ethernet: true,
        mac: [2, 0, 0, 0, 0, u8::try_from(index).unwrap()],
        mtu: 1500,
        vlan: None,
    }
}

fn played() -> Played {
    let near = Neighbour {
        device: 2,
        ip: ip("10.0.0.254"),
        mac: Some([4; 6]),
        is_stale: false,
    };
    let route = Route {
        is_plain: true,
        device: 2,
        gateway: Some(near.ip),
        source: Some(ip("10.0.0.1")),
        mtu: None,
        hop_limit: None,
    };
    Played(Rc::new(RefCell::new(World {
        links: vec![link(2), link(3)],
        addresses: vec![ip("10.0.0.1")],
        route: Some(route),
        neighbour: Some(near),
        used: Vec::new(),
        questions: 0,
    })))
}

fn hop_after(change: impl FnOnce(&mut World)) -> Result<Hop, Fallback> {
    let kernel = played();
    change(&mut kernel.0.borrow_mut());
    let mut resolver = Resolver::new(kernel, Ip::UNKNOWN);
    resolver.refresh().unwrap();
    resolver.hop(ip("192.0.2.1"), Ip::UNKNOWN)
}

#[test]
fn a_way_is_made_of_route_device_and_neighbour() {
    let hop = Hop {
        device: 2,
        vlan: None,
        source: ip("10.0.0.1"),
        source_mac: [2, 0, 0, 0, 0, 2],
        target_mac: [4; 6],
        hop_limit: 64,
        mtu: 1500,
    };
    assert_eq!(hop_after(|_| ()), Ok(hop));
    let narrow = hop_after(|world| {
        let route = world.route.as_mut().unwrap();
        (route.mtu, route.hop_limit) = (Some(1400), Some(3));
    });
    let expected = Hop {
        mtu: 1400,
        hop_limit: 3,
        ..hop
    };
    assert_eq!(narrow, Ok(expected));
    let tagged = hop_after(|world| {
        world.links[0].vlan = Some((5, 3));
        world.links[1].mtu = 1496;
    });
    let expected = Hop {
        device: 3,
        vlan: Some(5),
        mtu: 1496,
        ..hop
    };
    assert_eq!(tagged, Ok(expected), "its own card, on the carrier");
    let bridged = hop_after(|world| {
        world.links[0].vlan = Some((5, 3));
        world.links[1].is_ethernet = false;
    });
    assert_eq!(bridged, Ok(hop), "the kernel tags");
}

#[test]
fn what_is_missing_has_its_reason() {
    let route =
        |change: fn(&mut Route)| hop_after(move |world| change(world.route.as_mut().unwrap()));
    assert_eq!(hop_after(|world| world.route = None), Err(Fallback::Route));
    assert_eq!(route(|route| route.is_plain = false), Err(Fallback::Route));
    assert_eq!(route(|route| route.source = None), Err(Fallback::Route));
    assert_eq!(route(|route| route.device = 9), Err(Fallback::Device));
    let alien = hop_after(|world| world.links[0].is_ethernet = false);
    assert_eq!(alien, Err(Fallback::Route));
    let down = hop_after(|world| world.links[0].is_up = false);
    assert_eq!(down, Err(Fallback::Device));
    let carrier = hop_after(|world| {
        world.links[0].vlan = Some((5, 3));
        world.links[1].is_up = false;
    });
    assert_eq!(carrier, Err(Fallback::Device));
    let moved = hop_after(|world| world.addresses.clear());
    assert_eq!(moved, Err(Fallback::Route), "not our address any more");
    let absent = hop_after(|world| world.neighbour = None);
    assert_eq!(absent, Err(Fallback::Neighbour));
    let mut resolver = Resolver::new(played(), Ip::UNKNOWN);
    resolver.refresh().unwrap();
    let local = resolver.hop(ip("fe80::1"), Ip::UNKNOWN);
    assert_eq!(local, Err(Fallback::Route), "on which device?");
    let stolen = resolver.hop(ip("192.0.2.1"), ip("10.0.0.7"));
    assert_eq!(stolen, Err(Fallback::Route), "an address that is not ours");
}

#[test]
fn a_socket_that_is_bound_sends_from_there() {
    let kernel = played();
    kernel.0.borrow_mut().addresses.push(ip("10.0.0.8"));
    for (bound, source) in [
        ("10.0.0.8", "10.0.0.8"),
        ("0.0.0.0", "10.0.0.1"),
        ("::", "10.0.0.1"),
    ] {
        let mut resolver = Resolver::new(kernel.clone(), ip(bound));
        resolver.refresh().unwrap();
        let hop = resolver.hop(ip("192.0.2.1"), Ip::UNKNOWN).unwrap();
        assert_eq!(hop.source, ip(source), "bound to {bound}");
    }
    let mut resolver = Resolver::new(kernel, ip("127.0.0.1"));
    resolver.refresh().unwrap();
    let hop = resolver.hop(ip("192.0.2.1"), Ip::UNKNOWN);
    assert_eq!(hop, Err(Fallback::Route));
}

#[test]
fn answers_are_remembered_until_the_neighbour_changes() {
    let kernel = played();
    let mut resolver = Resolver::new(kernel.clone(), Ip::UNKNOWN);
    resolver.refresh().unwrap();
    let hop = |resolver: &mut Resolver<Played>| resolver.hop(ip("192.0.2.1"), Ip::UNKNOWN);
    hop(&mut resolver).unwrap();
    hop(&mut resolver).unwrap();
    assert_eq!(kernel.0.borrow().questions, 2);
    let mut news = kernel.0.borrow().neighbour.unwrap();
    news.is_stale = true;
    assert!(!resolver.on_neighbour(news), "where it was");
    resolver.use_stale();
    assert_eq!(kernel.0.borrow().used, [news.ip]);
    assert!(
        !resolver.on_neighbour(Neighbour { device: 3, ..news }),
        "not in use"
    );
    news.mac = Some([6; 6]);
    assert!(resolver.on_neighbour(news));
    assert_eq!(hop(&mut resolver).unwrap().target_mac, [6; 6]);
    news.mac = None;
    assert!(resolver.on_neighbour(news));
    assert_eq!(hop(&mut resolver), Err(Fallback::Neighbour));
}

const PEER: Peer = Peer {
    ip: Ip([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1]),
    port: 5000,
};

/// A desk with one worker, whose lanes cannot be opened, as there are no such devices.
fn desk(kernel: Played, room: usize) -> (Desk<Played>, Receiver<Told>) {
    let (tell, told) = sync_channel(room);
    let mut desk = Desk::new(Resolver::new(kernel, Ip::UNKNOWN), 8000, true, |_| ());
    desk.add(tell, Arc::new(Mapping::anonymous(4096).unwrap()));
    desk.refresh(Time::ZERO);
    (desk, told)
}

fn ask(viewer: u32) -> Ask {
    Ask::Way {
        core: 0,
        viewer,
        peer: PEER,
        local: Ip::UNKNOWN,
    }
}

fn ways(told: &Receiver<Told>) -> Vec<(u32, Way)> {
    let ways = told.try_iter().map(|told| match told {
        Told::Way { viewer, way, .. } => (viewer, way),
        Told::Open { .. } | Told::Close { .. } => panic!("no lane can be opened here"),
    });
    ways.collect()
}

#[test]
fn a_worker_is_told_once_and_when_something_changes() {
    let kernel = played();
    kernel.0.borrow_mut().neighbour = None;
    let (mut desk, told) = desk(kernel.clone(), 8);
    let now = Time::ZERO + Span::secs(1);
    assert!(!desk.on_ask(now, ask(4)));
    desk.revisit(now);
    assert!(desk.pump());
    let absent = Way::Socket(Fallback::Neighbour);
    assert_eq!(ways(&told), [(4, absent)]);
    kernel.0.borrow_mut().route = None;
    desk.refresh(now);
    assert!(desk.pump());
    assert_eq!(ways(&told), [(4, Way::Socket(Fallback::Route))]);
    // Who has gone is not told, and asking again is answered again.
    assert!(!desk.on_ask(now, Ask::Forget { core: 0, viewer: 4 }));
    kernel.0.borrow_mut().route = played().0.borrow().route;
    desk.refresh(now);
    assert!(desk.pump());
    assert_eq!(ways(&told), []);
    desk.on_ask(now, ask(4));
    assert!(desk.pump());
    assert_eq!(ways(&told), [(4, absent)]);
}

#[test]
fn a_worker_without_room_is_told_later() {
    let kernel = played();
    kernel.0.borrow_mut().route = None;
    let (mut desk, told) = desk(kernel, 2);
    for viewer in 0..5 {
        desk.on_ask(Time::ZERO, ask(viewer));
    }
    assert!(!desk.pump());
    let mut viewers: Vec<u32> = ways(&told).into_iter().map(|told| told.0).collect();
    while !desk.pump() {
        viewers.extend(ways(&told).into_iter().map(|told| told.0));
    }
    viewers.extend(ways(&told).into_iter().map(|told| told.0));
    assert_eq!(viewers, [0, 1, 2, 3, 4]);
    // A worker that has ended is told nothing, and nothing waits for it.
    drop(told);
    desk.on_ask(Time::ZERO, ask(9));
    assert!(desk.pump());
}

#[test]
fn a_lane_that_cannot_be_opened_is_tried_again_later() {
    let kernel = played();
    for link in &mut kernel.0.borrow_mut().links {
        // No device has this number.
        link.index += 1_000_000;
    }
    kernel.0.borrow_mut().route.as_mut().unwrap().device = 1_000_002;
    kernel.0.borrow_mut().neighbour.as_mut().unwrap().device = 1_000_002;
    let (mut desk, told) = desk(kernel, 8);
    desk.on_ask(Time::ZERO, ask(1));
    assert!(desk.pump());
    assert_eq!(ways(&told), [(1, Way::Socket(Fallback::Device))]);
    assert!(!desk.tick(Time::ZERO + Span::millis(500)));
    assert!(desk.tick(Time::ZERO + Span::millis(1500)));
}
