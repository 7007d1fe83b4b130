//! Descriptors that Chromium 156 sent, and such as are made up, bit by bit.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::Size;
use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn read(structure: &mut Structure, hex: &str) -> Option<Descriptor> {
    structure.read(&bytes(hex))
}

fn references(descriptor: &Descriptor) -> Vec<u16> {
    descriptor.references().collect()
}

/// The highest layer of simulcast VP8: three temporal layers, no chains.
const L1T3: &str = "8000058002044eaaaf2860414d34538a0940413fc0b3c0";

/// VP9 and AV1 with three spatial and three temporal layers, all predicted from those below.
const L3T3: &str = "\
    810001c0081485214eafffaaaa863cf0430c10c302afc0aaa0063c00430010c002a000a80006000040001d9549\
    26e082b04a0941b820ac1282503157f974000ca864330e222222eca8655304224230eca87753013f00b3027f01\
    6704ff02cf0380";

#[test]
fn three_temporal_layers_of_chromium_are_read() {
    let mut structure = Structure::new();
    assert!(!structure.is_known());
    assert_eq!(read(&mut structure, "850006"), None, "nothing is known yet");
    let key = read(&mut structure, L1T3).unwrap();
    assert!(key.is_key() && key.begins && !key.ends && key.has_structure);
    assert_eq!((key.frame_number, key.spatial, key.temporal), (5, 0, 0));
    assert_eq!(key.active_targets, 0b111);
    let (width, height) = (1280, 720);
    assert_eq!(key.size, Some(Size { width, height }));
    assert_eq!((structure.targets(), structure.spatial_layers()), (3, 1));
    assert_eq!(structure.target_layers(1), Some((0, 1)));
    assert_eq!(structure.target(0, 2), Some(2));
    assert_eq!(
        (structure.target(1, 0), structure.target_layers(3)),
        (None, None)
    );
    assert_eq!((structure.protected_by(0), key.chain(0)), (None, None));
    let layer = key.layer();
    assert!(layer.opens_own && layer.opens_above && !layer.is_discardable);

    // The frame's other packets have no structure.
    let last = read(&mut structure, "400005").unwrap();
    assert!(last.ends && !last.begins && !last.is_key());

    // The frames after it: temporal layers 2, 1, 2, 0, with references of their own.
    let frames = [
        "8500081240",
        "83000b12a0",
        "85000e1240",
        "8200111360",
        "850014130900",
    ];
    let frames = frames.map(|hex| read(&mut structure, hex).unwrap());
    assert_eq!(frames.map(|frame| frame.temporal), [2, 1, 2, 0, 2]);
    assert_eq!(
        frames.map(|frame| frame.is_discardable()),
        [true, false, true, false, true]
    );
    assert_eq!(references(&frames[0]), [3]);
    assert_eq!(references(&frames[1]), [6]);
    assert_eq!(references(&frames[3]), [12]);
    assert_eq!(references(&frames[4]), [9, 3]);
    assert!(frames[1].switches_to(2) && frames[1].layer().opens_own);
    assert_eq!(frames[0].dti(2), Dti::Discardable);
    assert_eq!(
        (frames[0].dti(0), frames[0].dti(40)),
        (Dti::NotPresent, Dti::NotPresent)
    );
}

#[test]
fn three_spatial_layers_of_chromium_are_read() {
    let mut structure = Structure::new();
    let key = read(&mut structure, L3T3).unwrap();
    assert!(key.is_key() && !key.refers_lower());
    assert_eq!((structure.targets(), structure.spatial_layers()), (9, 3));
    let targets: Vec<_> = (0..9)
        .map(|target| structure.target_layers(target).unwrap())
        .collect();
    let all = (0..3).flat_map(|spatial| (0..3).map(move |temporal| (spatial, temporal)));
    assert_eq!(targets, all.collect::<Vec<_>>());
    // One chain for each spatial layer.
    let chains: Vec<_> = (0..9)
        .map(|target| structure.protected_by(target).unwrap())
        .collect();
    assert_eq!(chains, [0, 0, 0, 1, 1, 1, 2, 2, 2]);
    assert_eq!(structure.size(1).map(|size| size.width), Some(640));
    // At first the base layer alone is sent.
    assert_eq!(key.active_targets, 0b111);
    assert_eq!((key.chain(0), key.chain(3)), (Some(0), None));

    let frame = read(&mut structure, "c300021a00080000").unwrap();
    assert_eq!(
        (frame.spatial, frame.temporal, references(&frame)),
        (0, 2, vec![1])
    );
    assert_eq!((frame.chain(0), frame.active_targets), (Some(1), 0b111));
    // The layer above begins, and the base layer's target is active still.
    let frame = read(&mut structure, "8500061200").unwrap();
    assert_eq!(
        (frame.spatial, frame.temporal, references(&frame)),
        (1, 0, vec![1])
    );
    assert!(frame.refers_lower() && frame.layer().refers_lower);
    // As the template has it.
    let frame = read(&mut structure, "8b000f").unwrap();
    assert_eq!((frame.spatial, frame.temporal), (2, 0));
    assert_eq!(frame.size.map(|size| size.height), Some(720));
    assert!(frame.refers_lower());
    let (all, few) = (bytes(L3T3), &mut Structure::new());
    for short in 0..all.len() {
        assert_eq!(few.read(&all[..short]), None, "{short} bytes");
        assert!(!few.is_known(), "{short} bytes");
    }
}

#[test]
fn a_structure_that_lies_changes_nothing() {
    let mut structure = Structure::new();
    read(&mut structure, L1T3).unwrap();
    // Templates without an end, layers without an end, more spatial layers than there may be.
    let endless = |layers: u8| {
        let mut lie = vec![0x80, 0, 1, 0x80, 0];
        lie.extend([layers; 64]);
        lie
    };
    for layers in [0b0000_0000, 0b0101_0101, 0b1010_1010] {
        assert_eq!(structure.read(&endless(layers)), None);
        assert_eq!(read(&mut structure, "850008").unwrap().temporal, 2);
    }
    assert_eq!(read(&mut structure, "870008"), None, "no such template");
}

/// Writes bits, the upper ones of a byte first.
#[derive(Default)]
struct Out {
    bytes: Vec<u8>,
    used: usize,
}

impl Out {
    fn put(&mut self, value: u64, bits: usize) {
        for nth in (0..bits).rev() {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let bit = u8::from(value >> nth & 1 != 0);
            *self.bytes.last_mut().unwrap() |= bit << (7 - self.used % 8);
            self.used += 1;
        }
    }

    fn below(&mut self, value: u64, below: u64) {
        let width = 64 - usize::try_from(below.leading_zeros()).unwrap();
        let short = (1 << width) - below;
        if value < short {
            self.put(value, width - 1);
        } else {
            self.put(value + short, width);
        }
    }
}

/// A template: its step to the next one, decode target indications, references, chains.
#[derive(Clone, Debug)]
struct Template {
    step: u64,
    dtis: Vec<u64>,
    references: Vec<u64>,
    chains: Vec<u64>,
}

#[derive(Clone, Debug)]
struct Told {
    offset: u64,
    targets: u64,
    protected_by: Vec<u64>,
    templates: Vec<Template>,
    sizes: Option<[(u16, u16); 4]>,
    active: u64,
}

impl Told {
    /// Spatial and temporal layer of each template.
    fn layers(&self) -> Vec<(u8, u8)> {
        let (mut spatial, mut temporal) = (0, 0);
        let mut layers = Vec::new();
        for template in &self.templates {
            layers.push((spatial, temporal));
            match template.step {
                1 => temporal += 1,
                2 => (spatial, temporal) = (spatial + 1, 0),
                _ => {}
            }
        }
        layers
    }

    fn write(&self, template: u64) -> Vec<u8> {
        let mut out = Out::default();
        out.put(0b10, 2);
        out.put(template, 6);
        out.put(0x1234, 16);
        out.put(0b11000, 5);
        out.put(self.offset, 6);
        out.put(self.targets - 1, 5);
        let last = self.templates.len() - 1;
        for (nth, template) in self.templates.iter().enumerate() {
            out.put(if nth == last { 3 } else { template.step }, 2);
        }
        for template in &self.templates {
            template.dtis.iter().for_each(|dti| out.put(*dti, 2));
        }
        for template in &self.templates {
            for reference in &template.references {
                out.put(0x10 | (reference - 1), 5);
            }
            out.put(0, 1);
        }
        let chains = self.templates[0].chains.len() as u64;
        out.below(chains, self.targets + 1);
        if chains > 0 {
            for chain in &self.protected_by {
                out.below(*chain, chains);
            }
            for template in &self.templates {
                template.chains.iter().for_each(|chain| out.put(*chain, 4));
            }
        }
        out.put(u64::from(self.sizes.is_some()), 1);
        let layers = usize::from(self.layers().last().unwrap().0) + 1;
        for (width, height) in self.sizes.iter().flat_map(|sizes| &sizes[..layers]) {
            out.put(u64::from(width - 1), 16);
            out.put(u64::from(height - 1), 16);
        }
        out.put(self.active, usize::try_from(self.targets).unwrap());
        out.bytes
    }
}

fn told() -> impl Strategy<Value = Told> {
    // Steps that stay within four spatial layers of eight temporal ones.
    let steps = vec(0..4_u64, 1..=64).prop_map(|steps| {
        let (mut spatial, mut temporal) = (0, 0);
        let step = |step| match step {
            1 if temporal < 7 => {
                temporal += 1;
                1
            }
            2 if spatial < 3 => {
                (spatial, temporal) = (spatial + 1, 0);
                2
            }
            _ => 0,
        };
        steps.into_iter().map(step).collect::<Vec<_>>()
    });
    let head = (0..64_u64, 1..=32_usize, steps);
    head.prop_flat_map(|(offset, targets, steps)| {
        (0..=targets).prop_flat_map(move |chains| {
            let steps = steps.clone();
            let template = (
                vec(0..4_u64, targets),
                proptest::collection::btree_set(1..=16_u64, 0..=8),
                vec(0..16_u64, chains),
            );
            let protected_by = vec(0..chains.max(1) as u64, targets);
            let sizes = proptest::option::of(any::<[(u16, u16); 4]>());
            let templates = vec(template, steps.len());
            (templates, protected_by, sizes, any::<u32>()).prop_map(
                move |(templates, protected_by, sizes, active)| Told {
                    offset,
                    targets: targets as u64,
                    protected_by,
                    templates: templates
                        .into_iter()
                        .zip(&steps)
                        .map(|((dtis, references, chains), step)| Template {
                            step: *step,
                            dtis,
                            references: references.into_iter().collect(),
                            chains,
                        })
                        .collect(),
                    sizes: sizes.map(|sizes| sizes.map(|(w, h)| (w.max(1), h.max(1)))),
                    active: u64::from(active) & (u64::MAX >> (64 - targets)),
                },
            )
        })
    })
}

proptest! {
    #[test]
    fn any_bytes_are_taken(packets in vec(vec(any::<u8>(), 0..120), 1..8)) {
        let mut structure = Structure::new();
        read(&mut structure, L3T3).unwrap();
        for packet in packets {
            let Some(read) = structure.read(&packet) else { continue };
            prop_assert!(read.layer().spatial < 4 && read.layer().temporal < 8);
            prop_assert!(read.references().count() <= REFERENCES_MAX);
        }
    }

    #[test]
    fn what_was_written_is_read(told in told(), nth: prop::sample::Index) {
        let nth = nth.index(told.templates.len());
        let id = (told.offset + nth as u64) % 64;
        let mut structure = Structure::new();
        let bytes = told.write(id);
        let read = structure.read(&bytes);
        prop_assert!(read.is_some(), "{:02x?}", bytes);
        let Some(read) = read else { unreachable!() };
        let (template, layers) = (&told.templates[nth], told.layers());
        prop_assert_eq!((read.spatial, read.temporal), layers[nth]);
        prop_assert_eq!(read.frame_number, 0x1234);
        prop_assert!(read.begins && !read.ends && read.has_structure);
        prop_assert_eq!(u64::from(read.active_targets), told.active);
        for (target, dti) in (0..).zip(&template.dtis) {
            prop_assert_eq!(read.dti(target) as u64, *dti);
        }
        let found: Vec<u64> = read.references().map(u64::from).collect();
        prop_assert_eq!(&found, &template.references);
        for (chain, difference) in (0..).zip(template.chains.iter().take(CHAINS_MAX)) {
            prop_assert_eq!(read.chain(chain).map(u64::from), Some(*difference));
        }
        if !template.chains.is_empty() {
            for (target, chain) in (0..).zip(&told.protected_by) {
                prop_assert_eq!(structure.protected_by(target).map(u64::from), Some(*chain));
            }
        }
        let size = told.sizes.map(|sizes| sizes[usize::from(read.spatial)]);
        prop_assert_eq!(read.size.map(|size| (size.width, size.height)), size);
        // A packet that says nothing of its own is read against it in the same way.
        let again = structure.read(&[0xc0 | u8::try_from(id).unwrap(), 0x12, 0x34]).unwrap();
        let expected = Descriptor { ends: true, has_structure: false, ..read };
        prop_assert_eq!(again, expected);
        for target in 0..structure.targets() {
            let (spatial, temporal) = structure.target_layers(target).unwrap();
            let same = structure.target(spatial, temporal).unwrap();
            prop_assert_eq!(structure.target_layers(same), Some((spatial, temporal)));
        }
    }
}
