//! Owns what is kept of a session beside its viewer, so that the next life of control goes on with
//! it: the commands that made it, and what only signalling knows.
//!
//! Sessions without keys are not kept: their peers begin again, and nobody misses a packet. Calls
//! are not kept either: whoever made them calls again. Pushes have a form of their own.

use crate::dtls::EngineKind;
use crate::ice::{Check, Ice};
use crate::output::Output;
use crate::push::is_push;
use crate::reconcile::Holder;
use crate::session::{Placed, Publishing, Session, SessionId};
use crate::sessions::Sessions;
use link::codec::Take;
use link::command::{AddPublisher, AddViewer, COMMAND_BYTES, Command, IceCredentials, Pin};
use link::ids::{CoreId, ViewerId};
use wire::time::Time;
use zeroize::{Zeroize, Zeroizing};

/// Of this form. Another one is not read: its session goes on as nobody's, until its peer leaves.
/// Count up when a field changes; a new one at the end changes nothing.
const FORM: u8 = 1;

/// Stands for no section.
const NO_SECTION: u16 = u16::MAX;

/// Why a session was not adopted. Its worker serves it until its peer leaves or falls silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAdopted {
    /// Nothing was kept, or by a build that this one does not understand.
    #[error("nothing was kept of it that this build understands")]
    Unreadable,
    /// Its stream is not open.
    #[error("its stream is not open any more")]
    NoStream,
    /// Its place is beyond the maximum, or taken.
    #[error("there is no place for it")]
    NoPlace,
}

/// What was kept, read.
struct Keepsake {
    core: CoreId,
    engine: EngineKind,
    created: Time,
    video_section: Option<usize>,
    /// Id, entity-tag, the peer's username fragment and password, tag and kind of the section.
    texts: [String; 6],
    add: AddViewer,
    restarted: Option<IceCredentials>,
    publisher: Option<AddPublisher>,
    pin: Pin,
}

impl Sessions {
    /// Has what is now kept of a session replaced. For after every change that the next life of
    /// control is to know of.
    pub(crate) fn keep(&mut self, index: u32) {
        let session = self.table.get(index);
        let kept = session.and_then(|session| Some((session.viewer, session.keepsake()?)));
        if let Some((viewer, keepsake)) = kept {
            self.output(Output::Keep { viewer, keepsake });
        }
    }

    /// Goes on with a session that an earlier control had, of which `keepsake` was kept. `holder`
    /// says which worker serves its viewer, and `leases` are those of its cell, as for
    /// [`Sessions::worker_restarted`]. For after its stream was opened and described.
    ///
    /// # Errors
    /// It cannot be; nothing has changed.
    pub fn adopt(
        &mut self,
        now: Time,
        viewer: ViewerId,
        keepsake: &[u8],
        holder: Holder,
        leases: [u64; 5],
    ) -> Result<(), NotAdopted> {
        if is_push(keepsake) {
            return self.adopt_push(now, viewer, keepsake);
        }
        let kept = Keepsake::read(keepsake).filter(|kept| kept.add.viewer == viewer);
        let kept = kept.ok_or(NotAdopted::Unreadable)?;
        let stream = self.streams.by_id(kept.add.stream);
        let description = stream.ok_or(NotAdopted::NoStream)?.description;
        if !self.table.claim(viewer) {
            return Err(NotAdopted::NoPlace);
        }
        let core = match holder {
            Holder::Core(core) => core,
            Holder::Nobody | Holder::Unknown => kept.core,
        };
        let publishing = kept.publisher.map(|publisher| Publishing {
            description,
            lanes: publisher.lanes,
            rid_id: publisher.rid_id,
            repaired_rid_id: publisher.repaired_rid_id,
            transport_cc_id: publisher.transport_cc_id,
            remb_bps: publisher.remb_bps,
            announced: true,
        });
        let publishes = publishing.is_some();
        let mut session = kept.into_session(now, core, publishing);
        session.renew(now, leases);
        let (stream, index, peer) = (session.stream, viewer.index, session.peer());
        // What a worker has already it is not told again, but for what may not have reached it.
        let is_served = matches!(holder, Holder::Core(_));
        let is_plain = !publishes && session.ice.restarted().is_none() && session.pin == Pin::NONE;
        if let Some(placed) = &mut session.placed {
            placed.viewer_added = is_served;
        }
        self.table.insert(session);
        if let Some(peer) = peer {
            self.table.bind(peer, index, None);
        }
        match publishes {
            true => self.set_publisher(stream, viewer),
            false => self.count_viewer(stream),
        }
        self.counters.session_adopted += 1;
        if !(is_served && is_plain) {
            self.send_commands(index);
        }
        self.schedule(index);
        Ok(())
    }
}

impl Session {
    /// `None`: there are no keys, or it is a call.
    fn keepsake(&self) -> Option<Zeroizing<Vec<u8>>> {
        let placed = self.placed.as_ref().filter(|_| self.agent.is_none())?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(link::viewer::KEEPSAKE_BYTES));
        let engine = match placed.engine {
            EngineKind::Dtls12 => 12,
            EngineKind::Dtls13 => 13,
        };
        bytes.extend([FORM, engine]);
        bytes.extend(placed.core.0.to_le_bytes());
        bytes.extend(self.created.0.to_le_bytes());
        let section = self.video_section.and_then(|n| u16::try_from(n).ok());
        bytes.extend(section.unwrap_or(NO_SECTION).to_le_bytes());
        let (ufrag, pwd) = self.ice.remote();
        let (mid, kind) = &self.section;
        for text in [&self.id.0, self.ice.etag(), ufrag, pwd, mid, kind] {
            put(&mut bytes, text.as_bytes());
        }
        for (_, command) in self.commands() {
            put_command(&mut bytes, command);
        }
        Some(bytes)
    }

    /// Where the peer is, if it has keys.
    fn peer(&self) -> Option<wire::peer::Peer> {
        self.placed.as_ref().map(|placed| placed.peer)
    }
}

impl Keepsake {
    /// `None`: not of our form, or damaged.
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut take = Take::new(bytes);
        let engine = match (take.u8()?, take.u8()?) {
            (FORM, 12) => EngineKind::Dtls12,
            (FORM, 13) => EngineKind::Dtls13,
            _ => return None,
        };
        let core = CoreId(take.u16()?);
        let created = Time(take.u64()?);
        let section = take.u16()?;
        let mut texts: [String; 6] = Default::default();
        for text in &mut texts {
            *text = std::str::from_utf8(field(&mut take)?).ok()?.to_owned();
        }
        let (mut add, mut restarted, mut publisher, mut pin) = (None, None, None, Pin::NONE);
        while let Some(encoded) = field(&mut take) {
            match command(encoded)? {
                Command::AddViewer(viewer) => add = Some(viewer),
                Command::RestartIce { ice, .. } => restarted = Some(ice),
                Command::AddPublisher(mut of) => {
                    of.keys.zeroize();
                    publisher = Some(of);
                }
                Command::ChooseLayer(_, chosen) => pin = chosen,
                _ => {}
            }
        }
        Some(Self {
            core,
            engine,
            created,
            video_section: (section != NO_SECTION).then_some(section.into()),
            texts,
            add: add?,
            restarted,
            publisher,
            pin,
        })
    }

    /// The session as it was, served by `core`.
    fn into_session(self, now: Time, core: CoreId, publishing: Option<Publishing>) -> Session {
        let [id, etag, ufrag, pwd, mid, kind] = self.texts;
        let AddViewer {
            viewer,
            stream,
            peer,
            local,
            ice: credentials,
            keys,
            tracks,
            rtcp_first_index,
            encoding: _,
        } = self.add;
        let mut ice = Ice::new(credentials, (ufrag, pwd), etag);
        ice.adopt(self.restarted);
        let pair = Check {
            peer,
            local,
            core,
            priority: 0,
            nominated: true,
        };
        ice.on_check(now, &pair);
        let route = (core, peer, local);
        let mut placed = Placed::new(now, route, keys, self.engine, publishing.is_some());
        placed.rtcp_first_index = rtcp_first_index;
        Session {
            id: SessionId(id),
            viewer,
            stream,
            created: self.created,
            expires: self.created,
            ice,
            dtls: None,
            dtls_client: None,
            tracks,
            publishing,
            section: (mid, kind),
            video_section: self.video_section,
            awaited: None,
            agent: None,
            pin: self.pin,
            offered: None,
            encodings: None,
            placed: Some(placed),
        }
    }
}

/// Appends a field of up to 65,535 bytes, its length first.
pub(crate) fn put(bytes: &mut Vec<u8>, field: &[u8]) {
    let length = u16::try_from(field.len()).unwrap_or(0);
    bytes.extend(length.to_le_bytes());
    bytes.extend(&field[..length.into()]);
}

/// Appends a command, without the zeros at its end, and wipes it.
pub(crate) fn put_command(bytes: &mut Vec<u8>, mut command: Command) {
    let mut encoded = Zeroizing::new([0; COMMAND_BYTES]);
    command.encode(&mut encoded);
    command.zeroize();
    let used = encoded.iter().rposition(|byte| *byte != 0);
    put(bytes, &encoded[..used.map_or(0, |last| last + 1)]);
}

/// The command that [`put_command`] has appended as this field.
pub(crate) fn command(field: &[u8]) -> Option<Command> {
    let mut bytes = Zeroizing::new([0; COMMAND_BYTES]);
    bytes.get_mut(..field.len())?.copy_from_slice(field);
    Command::decode(&bytes)
}

/// What [`put`] has appended; `None` at the end.
pub(crate) fn field<'a>(take: &mut Take<'a>) -> Option<&'a [u8]> {
    let length = take.u16()?;
    take.bytes(length.into())
}
