//! Who is told what of a stream, and when.

use super::*;

const STREAM: StreamId = StreamId {
    index: 3,
    generation: 1,
};

const OTHER: StreamId = StreamId {
    index: 4,
    generation: 1,
};

fn news(is_live: bool, viewers: u32) -> News {
    News {
        is_live,
        viewers,
        layers: vec![LayerView {
            encoding_id: "0".into(),
            bitrate_bps: 1000,
            is_live,
            ..LayerView::default()
        }],
    }
}

fn open(events: &mut Events, session: &str, kinds: EventKinds) -> u64 {
    events.open(STREAM, session, Some(0), kinds, news(true, 1))
}

/// What has come so far, by name; with their numbers where they count viewers.
fn taken(reader: &mut mpsc::Receiver<Event>) -> Vec<String> {
    let mut all = Vec::new();
    while let Ok(event) = reader.try_recv() {
        let name = event.kind.name().to_owned();
        let count = event.data.strip_prefix("{\"viewercount\":");
        all.push(name + count.map_or("", |rest| rest.trim_end_matches('}')));
    }
    all
}

#[test]
fn a_reader_begins_with_how_things_are_and_is_told_what_changes() {
    let mut events = Events::default();
    let number = open(&mut events, "a", EventKinds::all());
    let mut reader = events.read(STREAM, "a", number, &news(true, 1)).unwrap();
    assert_eq!(taken(&mut reader), ["active", "layers", "viewercount1"]);

    let now = Time::ZERO + Span::secs(100);
    events.on_news(now, STREAM, news(true, 1));
    assert_eq!(taken(&mut reader), [""; 0]);
    events.on_news(now, STREAM, news(true, 2));
    events.on_news(now, OTHER, news(true, 9));
    assert_eq!(taken(&mut reader), ["viewercount2"]);
    events.on_live(STREAM, false);
    events.on_live(STREAM, false);
    events.on_live(STREAM, true);
    assert_eq!(taken(&mut reader), ["inactive", "active"]);

    // Rates alone are told every five seconds.
    let mut faster = news(true, 2);
    faster.layers[0].bitrate_bps = 2000;
    let mut told = Vec::new();
    for second in 0..11 {
        faster.layers[0].bitrate_bps += 1;
        events.on_news(now + Span::secs(second), STREAM, faster.clone());
        told.extend(taken(&mut reader).into_iter().map(|name| (second, name)));
    }
    let seconds: Vec<_> = told.iter().map(|(second, _)| *second).collect();
    assert_eq!(seconds, [0, 5, 10], "{told:?}");
    assert!(told.iter().all(|(_, name)| name == "layers"));
}

#[test]
fn only_what_is_wanted_is_told() {
    let mut events = Events::default();
    let some = EventKinds::of(["inactive", "viewercount"]).unwrap();
    let number = open(&mut events, "a", some);
    let mut reader = events.read(STREAM, "a", number, &news(true, 1)).unwrap();
    events.on_live(STREAM, false);
    events.on_live(STREAM, true);
    assert_eq!(events.listeners(), (0, 0));
    assert_eq!(events.ask_to_reconnect(9, &BTreeMap::new()), 0);
    assert_eq!(taken(&mut reader), ["viewercount1", "inactive"]);
    // A video that the viewer does not take has no layers for it.
    let number = events.open(STREAM, "b", None, EventKinds::all(), news(true, 1));
    let mut reader = events.read(STREAM, "b", number, &news(true, 1)).unwrap();
    assert_eq!(taken(&mut reader), ["active", "viewercount1"]);
}

#[test]
fn what_happens_without_a_reader_is_told_to_the_next() {
    let mut events = Events::default();
    // Nothing came in when it was made: that is not told.
    let number = events.open(STREAM, "a", Some(0), EventKinds::all(), news(false, 1));
    let mut reader = events.read(STREAM, "a", number, &news(false, 1)).unwrap();
    assert_eq!(taken(&mut reader), ["layers", "viewercount1"]);
    events.on_live(STREAM, true);
    assert_eq!(taken(&mut reader), ["active"]);
    drop(reader);
    events.on_live(STREAM, false);
    let url = "{\"url\":\"https://b.example/whep/x\"}".to_owned();
    let data = BTreeMap::from([(STREAM.index, url.clone())]);
    assert_eq!(events.ask_to_reconnect(9, &data), 1);
    let mut reader = events.read(STREAM, "a", number, &news(false, 1)).unwrap();
    let last = |reader: &mut mpsc::Receiver<Event>| {
        let mut last = None;
        while let Ok(event) = reader.try_recv() {
            last = Some(event);
        }
        last.unwrap()
    };
    let event = last(&mut reader);
    assert_eq!(event.data, url);
    // Once told, it knows: no second "inactive", no second "reconnect".
    let mut reader = events.read(STREAM, "a", number, &news(false, 1)).unwrap();
    assert_eq!(taken(&mut reader), ["layers", "viewercount1"]);
}

#[test]
fn a_stream_is_replaced_closed_and_ended() {
    let mut events = Events::default();
    let first = open(&mut events, "a", EventKinds::all());
    let mut reader = events.read(STREAM, "a", first, &news(true, 1)).unwrap();
    let second = open(&mut events, "a", EventKinds::all());
    taken(&mut reader);
    assert_eq!(
        reader.try_recv(),
        Err(mpsc::error::TryRecvError::Disconnected)
    );
    assert!(events.read(STREAM, "a", first, &news(true, 1)).is_none());
    assert!(!events.close(STREAM, "a", first));
    assert_eq!(events.readers(), 0);

    let mut reader = events.read(STREAM, "a", second, &news(true, 1)).unwrap();
    assert_eq!(events.readers(), 1);
    taken(&mut reader);
    events.end(STREAM, "a", Some("{}".into()));
    assert_eq!(taken(&mut reader), ["reconnect"]);
    assert!(reader.is_closed() && events.are_unwanted());
    assert!(!events.concern(STREAM));

    let third = open(&mut events, "a", EventKinds::all());
    assert!(events.close(STREAM, "a", third));
    assert!(events.are_unwanted(), "nothing is left behind");
}

#[test]
fn a_reader_that_does_not_keep_up_is_cut_and_may_come_again() {
    let mut events = Events::default();
    let number = open(&mut events, "a", EventKinds::all());
    let mut reader = events.read(STREAM, "a", number, &news(true, 1)).unwrap();
    for second in 0..100 {
        let viewers = u32::try_from(second).unwrap() + 2;
        events.on_news(Time::ZERO + Span::secs(second), STREAM, news(true, viewers));
    }
    let all = taken(&mut reader);
    assert_eq!(all.len(), QUEUE_MAX, "{all:?}");
    assert!(reader.is_closed());
    let mut reader = events.read(STREAM, "a", number, &news(true, 101)).unwrap();
    assert_eq!(taken(&mut reader), ["active", "layers", "viewercount101"]);
}

/// How many of these have been asked to come again since the last look.
fn asked(readers: &mut [mpsc::Receiver<Event>]) -> usize {
    let is_asked = |reader: &mut mpsc::Receiver<Event>| {
        let names = taken(reader);
        names.iter().any(|name| name == "reconnect")
    };
    readers
        .iter_mut()
        .map(is_asked)
        .filter(|asked| *asked)
        .count()
}

#[test]
fn viewers_are_asked_to_come_again_a_few_at_a_time_and_each_once() {
    let mut events = Events::default();
    let mut readers = Vec::new();
    for (stream, name) in [(STREAM, "a"), (STREAM, "b"), (OTHER, "c"), (OTHER, "d")] {
        let number = events.open(stream, name, None, EventKinds::all(), news(true, 1));
        readers.push(events.read(stream, name, number, &news(true, 1)).unwrap());
    }
    let none = BTreeMap::new();
    assert_eq!(events.listeners(), (0, 4));
    assert_eq!(events.ask_to_reconnect(0, &none), 0);
    assert_eq!(events.ask_to_reconnect(3, &none), 3);
    assert_eq!((events.listeners(), asked(&mut readers)), ((3, 1), 3));
    assert_eq!(events.ask_to_reconnect(3, &none), 1);
    assert_eq!((events.listeners(), asked(&mut readers)), ((4, 0), 1));
    assert_eq!(events.ask_to_reconnect(3, &none), 0);

    // At the end of its session one that has been asked is not asked again.
    events.end(STREAM, "a", Some("{}".into()));
    assert_eq!((events.listeners(), asked(&mut readers)), ((3, 0), 0));
    events.take_back();
    assert_eq!(events.listeners(), (0, 3));
    events.end(STREAM, "b", Some("{}".into()));
    assert_eq!((events.listeners(), asked(&mut readers)), ((0, 2), 1));
}

#[test]
fn what_is_taken_back_is_not_told_to_a_reader_that_comes_later() {
    let mut events = Events::default();
    let number = open(&mut events, "a", EventKinds::all());
    assert_eq!(events.ask_to_reconnect(1, &BTreeMap::new()), 1);
    events.take_back();
    let mut reader = events.read(STREAM, "a", number, &news(true, 1)).unwrap();
    assert_eq!(taken(&mut reader), ["active", "layers", "viewercount1"]);
}
