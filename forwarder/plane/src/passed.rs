//! Owns the flows of publishers without a viewer that other cores have: what comes here is handed
//! to them.

use link::command::{PassPublisher, TRACKS_MAX};
use link::ids::{CoreId, StreamId};
use wire::datagram::RxMeta;
use wire::peer::Peer;

use crate::flow::{Flows, Target};
use crate::publishers::anywhere;

/// The publishers of other cores, by the index of their stream.
pub struct Passed {
    slots: Box<[Option<Pass>]>,
}

#[derive(Clone, Copy)]
struct Pass {
    stream: StreamId,
    core: CoreId,
    flows: [Option<RxMeta>; TRACKS_MAX],
}

impl Passed {
    /// Bytes for each stream.
    pub const MEMORY_BYTES: usize = size_of::<Option<Pass>>();

    /// An empty table. All allocation is here.
    pub fn new(streams_max: u32) -> Self {
        Self {
            slots: vec![None; streams_max as usize].into_boxed_slice(),
        }
    }

    /// Takes a publisher that another core has, or brings it up to date. False: no room.
    pub fn add(&mut self, add: &PassPublisher, flows: &mut Flows) -> bool {
        self.forget(add.stream.index, flows);
        let Some(slot) = self.slots.get_mut(add.stream.index as usize) else {
            return false;
        };
        let pass = slot.insert(Pass {
            stream: add.stream,
            core: add.core,
            flows: anywhere(add.peers),
        });
        let mut all = pass.flows.iter().flatten();
        all.all(|flow| flows.pin(*flow, add.core))
    }

    /// Forgets the publisher of a stream.
    pub fn remove(&mut self, stream: StreamId, flows: &mut Flows) {
        let slot = self.slots.get(stream.index as usize);
        if slot.is_some_and(|slot| slot.is_some_and(|pass| pass.stream == stream)) {
            self.forget(stream.index, flows);
        }
    }

    /// All of them, as they were added.
    pub fn iter(&self) -> impl Iterator<Item = PassPublisher> {
        self.slots.iter().flatten().map(|pass| PassPublisher {
            stream: pass.stream,
            core: pass.core,
            peers: pass
                .flows
                .map(|flow| flow.map_or_else(Peer::default, |flow| flow.peer)),
        })
    }

    fn forget(&mut self, index: u32, flows: &mut Flows) {
        let gone = self.slots.get_mut(index as usize).and_then(Option::take);
        if let Some(gone) = gone {
            for flow in gone.flows.iter().flatten() {
                flows.remove(flow, Target::Remote(gone.core));
            }
        }
    }
}
