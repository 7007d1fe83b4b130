//! Owns what viewers are told about a stream while they watch it: the kinds of events, and an
//! event (webrtc-http-egress-events section 4).

/// A kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EventKind {
    /// Media comes in.
    Active,
    /// No media comes in any more.
    Inactive,
    /// Which layers the video has.
    Layers,
    /// The session is over or about to be: open another.
    Reconnect,
    /// How many watch.
    ViewerCount,
}

/// A set of kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventKinds(u8);

/// What a viewer is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What it is about.
    pub kind: EventKind,
    /// JSON in one line.
    pub data: String,
}

impl EventKind {
    /// All kinds, in the order of their names.
    pub const ALL: [Self; 5] = [
        Self::Active,
        Self::Inactive,
        Self::Layers,
        Self::Reconnect,
        Self::ViewerCount,
    ];

    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Layers => "layers",
            Self::Reconnect => "reconnect",
            Self::ViewerCount => "viewercount",
        }
    }

    fn bit(self) -> u8 {
        1 << (self as u8)
    }
}

impl EventKinds {
    /// Every kind.
    #[must_use]
    pub fn all() -> Self {
        EventKind::ALL.into_iter().fold(Self::default(), Self::with)
    }

    /// The kinds of these names.
    ///
    /// # Errors
    /// Gives back the first name that is none.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, &'a str> {
        let mut kinds = Self::default();
        for name in names {
            let kind = EventKind::ALL.into_iter().find(|kind| kind.name() == name);
            kinds = kinds.with(kind.ok_or(name)?);
        }
        Ok(kinds)
    }

    /// True if `kind` is among them.
    #[must_use]
    pub fn contains(self, kind: EventKind) -> bool {
        self.0 & kind.bit() != 0
    }

    fn with(self, kind: EventKind) -> Self {
        Self(self.0 | kind.bit())
    }
}

impl Event {
    /// The event as an event stream has it (WHATWG HTML section 9.2.5).
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("event: {}\ndata: {}\n\n", self.kind.name(), self.data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_by_their_names() {
        let names = EventKind::ALL.map(EventKind::name);
        assert_eq!(EventKinds::of(names), Ok(EventKinds::all()));
        let some = EventKinds::of(["layers", "active", "layers"]).unwrap();
        assert!(some.contains(EventKind::Active) && some.contains(EventKind::Layers));
        assert!(!some.contains(EventKind::ViewerCount));
        assert_eq!(EventKinds::of(["active", "scte35"]), Err("scte35"));
    }

    #[test]
    fn an_event_has_one_line_of_data() {
        let event = Event {
            kind: EventKind::ViewerCount,
            data: "{\"viewercount\":3}".into(),
        };
        assert_eq!(
            event.to_text(),
            "event: viewercount\ndata: {\"viewercount\":3}\n\n"
        );
    }
}
