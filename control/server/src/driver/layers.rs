//! Owns the layers of a stream's video: what viewers are told of them, and which they may choose.

use super::source::video;
use super::stream::{Active, Layers, Stream};
use crate::control::{InnerLayerInfo, LayerInfo, LayerWish};
use crate::problem::Problem;
use link::command::VIDEO;
use link::lanes::{SPATIAL_MAX, TEMPORAL_MAX};
use serde::Serialize;
use session::Pin;

/// The name of the one layer of a stream that has no other.
const ONLY: &str = "0";

/// One encoding of a stream's video.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LayerView {
    /// The publisher's name for it (RFC 8852), or [`ONLY`].
    pub encoding_id: String,
    /// Where it is in the stream's log.
    pub lane: u8,
    /// Bits a second, over the last second; 0: not measured yet, or nothing comes.
    pub bitrate_bps: u64,
    /// It comes in now.
    pub is_live: bool,
    /// Width in pixels, if it is known.
    pub width: Option<u32>,
    /// Height in pixels, if it is known.
    pub height: Option<u32>,
    /// What of its spatial and temporal layers a viewer may have; none if it has one.
    pub inner: Vec<InnerLayerInfo>,
}

/// The name of the one layer of a stream that has no other.
pub(super) fn only() -> String {
    ONLY.to_owned()
}

/// The layers of a stream's video, the lowest first; none if it has no video.
pub(super) fn layers_of(stream: &Stream, is_live: bool) -> Vec<LayerView> {
    let layers = encodings_of(stream, is_live);
    if !layers.is_empty() {
        return layers;
    }
    let progress = stream.active.as_ref().map(|active| active.progress);
    let only = video(stream, &progress.unwrap_or_default()).map(|video| LayerView {
        encoding_id: only(),
        lane: u8::try_from(VIDEO).unwrap_or(0),
        bitrate_bps: video.bitrate_bps.unwrap_or(0),
        is_live,
        width: video.width,
        height: video.height,
        inner: Vec::new(),
    });
    only.into_iter().collect()
}

/// The encodings of a publisher that sends several, the lowest first; or the only one, if it has
/// layers inside.
pub(super) fn encodings_of(stream: &Stream, is_live: bool) -> Vec<LayerView> {
    let Some(active) = &stream.active else {
        return Vec::new();
    };
    let layers = active.encodings.iter().map(|one| LayerView {
        encoding_id: one.name.clone(),
        lane: u8::try_from(one.lane).unwrap_or(0),
        bitrate_bps: one.bitrate_bps,
        is_live: is_live && one.bitrate_bps > 0,
        width: known(one.size.0),
        height: known(one.size.1),
        inner: inner_of(active, one.lane),
    });
    let mut layers: Vec<_> = layers.collect();
    let inner = inner_of(active, VIDEO);
    if let (true, Some(top)) = (layers.is_empty(), inner.last()) {
        layers.push(LayerView {
            encoding_id: only(),
            lane: u8::try_from(VIDEO).unwrap_or(0),
            bitrate_bps: top.bitrate_bps,
            is_live,
            width: top.width,
            height: top.height,
            inner,
        });
    }
    // Those that are off keep the order in which they were offered.
    layers.sort_by_key(|layer| match layer.is_live {
        true => layer.bitrate_bps,
        false => u64::MAX,
    });
    layers
}

/// The highest spatial and temporal layer that comes in of an encoding.
pub(super) fn tops(layers: &Layers) -> (usize, usize) {
    let comes = |spatial: usize, temporal: usize| layers[spatial][temporal] > 0;
    let all = (0..SPATIAL_MAX).flat_map(|spatial| (0..TEMPORAL_MAX).map(move |t| (spatial, t)));
    let there = all.filter(|(spatial, temporal)| comes(*spatial, *temporal));
    there.fold((0, 0), |top, one| (top.0.max(one.0), top.1.max(one.1)))
}

/// What of the layers inside an encoding a viewer may have, the smallest picture first; none if
/// there is one layer.
pub(super) fn inner_of(active: &Active, lane: usize) -> Vec<InnerLayerInfo> {
    let (Some(layers), Some(sizes)) = (active.layers.get(lane), active.layer_sizes.get(lane))
    else {
        return Vec::new();
    };
    let (spatial_top, temporal_top) = tops(layers);
    if (spatial_top, temporal_top) == (0, 0) {
        return Vec::new();
    }
    let all = (0..=spatial_top).flat_map(|s| (0..=temporal_top).map(move |t| (s, t)));
    let told = all.map(|(spatial, temporal)| InnerLayerInfo {
        spatial: u8::try_from(spatial).unwrap_or(u8::MAX),
        temporal: u8::try_from(temporal).unwrap_or(u8::MAX),
        width: known(sizes[spatial].0),
        height: known(sizes[spatial].1),
        bitrate_bps: layers[..=spatial]
            .iter()
            .flat_map(|row| &row[..=temporal])
            .sum(),
    });
    told.collect()
}

fn known(pixels: u16) -> Option<u32> {
    (pixels > 0).then_some(u32::from(pixels))
}

impl From<LayerView> for LayerInfo {
    fn from(layer: LayerView) -> Self {
        Self {
            id: layer.encoding_id,
            live: layer.is_live,
            width: layer.width,
            height: layer.height,
            bitrate_bps: layer.bitrate_bps,
            layers: layer.inner,
        }
    }
}

/// What the event `layers` says of them, for a viewer whose video is in this section.
///
/// The text of the draft and the players that are about differ in names and shape. Both names are
/// given; the shape is that of the players.
pub(super) fn data(section: usize, layers: &[LayerView]) -> String {
    let told = |is_live: bool| {
        let those = layers.iter().filter(move |layer| layer.is_live == is_live);
        those.map(Told::of).collect::<Vec<_>>()
    };
    // One by one: encodings, or what of them there is to choose.
    let each = layers
        .iter()
        .filter(|layer| layer.is_live)
        .flat_map(|layer| {
            let inner = layer.inner.iter().map(|inner| Told::inner(layer, inner));
            let whole = layer.inner.is_empty().then(|| Told::of(layer));
            inner.chain(whole)
        });
    let media = Media {
        active: told(true),
        inactive: told(false),
        layers: each.collect(),
    };
    // Strings and numbers only: serialising them cannot fail.
    let media = serde_json::to_string(&media).unwrap_or_default();
    format!("{{\"{section}\":{media}}}")
}

/// True if viewers would have to be told, were it not for the rates, which never stay the same.
pub(super) fn have_changed(before: &[LayerView], after: &[LayerView]) -> bool {
    let shape = |layer: &LayerView| LayerView {
        bitrate_bps: u64::from(layer.bitrate_bps > 0),
        inner: layer.inner.iter().map(told_once).collect(),
        ..layer.clone()
    };
    fn told_once(inner: &InnerLayerInfo) -> InnerLayerInfo {
        InnerLayerInfo {
            bitrate_bps: 0,
            ..inner.clone()
        }
    }
    !before.iter().map(shape).eq(after.iter().map(shape))
}

/// What a wish comes to, for a viewer whose video is in this section.
///
/// # Errors
/// 404: a media section or a layer that is not there; 409: a layer that does not come in now, or
/// sizes that nobody knows.
pub(super) fn resolve(
    wish: &LayerWish,
    section: Option<usize>,
    layers: &[LayerView],
) -> Result<Pin, Problem> {
    let media = section.map(|section| section.to_string());
    let given = wish.media_id.as_deref();
    if media.is_none() || given.is_some_and(|given| Some(given) != media.as_deref()) {
        return Err(unknown("the session has no video in this media section"));
    }
    let lane = match &wish.encoding_id {
        Some(id) => Some(named(id, layers)?),
        None => fitting(wish, layers)?,
    };
    let least = |one: Option<u8>, other: Option<u8>| {
        let both = [one, other].into_iter().flatten();
        both.min().unwrap_or(u8::MAX)
    };
    Ok(Pin {
        lane,
        spatial_max: least(wish.spatial_layer_id, wish.max_spatial_layer_id),
        temporal_max: least(wish.temporal_layer_id, wish.max_temporal_layer_id),
    })
}

fn named(id: &str, layers: &[LayerView]) -> Result<u8, Problem> {
    let layer = layers.iter().find(|layer| layer.encoding_id == id);
    let layer = layer.ok_or_else(|| unknown("the video has no layer of this name"))?;
    match layer.is_live {
        true => Ok(layer.lane),
        false => Err(conflict(
            "layer-inactive",
            "the publisher does not send this layer now",
        )),
    }
}

/// The greatest layer within the bounds on width and height; `None`: there are no bounds.
fn fitting(wish: &LayerWish, layers: &[LayerView]) -> Result<Option<u8>, Problem> {
    if wish.max_width.is_none() && wish.max_height.is_none() {
        return Ok(None);
    }
    let live = layers.iter().filter(|layer| layer.is_live);
    let sized = live.filter_map(|layer| Some((layer.width?, layer.height?, layer.lane)));
    let sized: Vec<_> = sized.collect();
    if sized.is_empty() {
        return Err(conflict(
            "layer-size-unknown",
            "no layer says how large its pictures are",
        ));
    }
    let (width, height) = (
        wish.max_width.unwrap_or(u32::MAX),
        wish.max_height.unwrap_or(u32::MAX),
    );
    let fits = |&&(w, h, _): &&(u32, u32, u8)| w <= width && h <= height;
    let largest = sized
        .iter()
        .filter(fits)
        .max_by_key(|(w, h, _)| u64::from(*w) * u64::from(*h));
    let largest = largest.ok_or_else(|| unknown("no layer is as small as that"))?;
    Ok(Some(largest.2))
}

#[derive(Serialize)]
struct Media<'a> {
    active: Vec<Told<'a>>,
    inactive: Vec<Told<'a>>,
    layers: Vec<Told<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    encoding_id: &'a str,
    rid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    spatial_layer_id: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temporal_layer_id: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bitrate: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    layers: Vec<Told<'a>>,
}

impl<'a> Told<'a> {
    /// What of an encoding may be had by the numbers of its layers.
    fn inner(layer: &'a LayerView, inner: &InnerLayerInfo) -> Self {
        Self {
            encoding_id: &layer.encoding_id,
            rid: &layer.encoding_id,
            spatial_layer_id: Some(inner.spatial),
            temporal_layer_id: Some(inner.temporal),
            bitrate: Some(inner.bitrate_bps).filter(|bps| *bps > 0),
            width: inner.width,
            height: inner.height,
            layers: Vec::new(),
        }
    }

    fn of(layer: &'a LayerView) -> Self {
        Self {
            encoding_id: &layer.encoding_id,
            rid: &layer.encoding_id,
            spatial_layer_id: None,
            temporal_layer_id: None,
            // Of an inactive layer it is 0; of one that has just begun it is not known.
            bitrate: match layer.is_live {
                true => Some(layer.bitrate_bps).filter(|bps| *bps > 0),
                false => Some(0),
            },
            width: layer.width,
            height: layer.height,
            layers: layer
                .inner
                .iter()
                .map(|inner| Self::inner(layer, inner))
                .collect(),
        }
    }
}

fn unknown(detail: &str) -> Problem {
    Problem::new(
        404,
        "layer-unknown",
        "There is no such layer",
        detail,
        "the event \"layers\" names those there are; {} gives the choice back to the server",
    )
}

fn conflict(name: &str, detail: &str) -> Problem {
    Problem::new(
        409,
        name,
        "This layer cannot be had now",
        detail,
        "choose another layer, or {} to give the choice back to the server",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(id: &str, lane: u8, width: u32, is_live: bool) -> LayerView {
        LayerView {
            encoding_id: id.into(),
            lane,
            bitrate_bps: 1000 * u64::from(width),
            is_live,
            width: Some(width),
            height: Some(width / 2),
            inner: Vec::new(),
        }
    }

    fn inner(spatial: u8, temporal: u8) -> InnerLayerInfo {
        InnerLayerInfo {
            spatial,
            temporal,
            width: Some(320 << spatial),
            height: None,
            bitrate_bps: 1000,
        }
    }

    #[test]
    fn layers_inside_an_encoding_are_told_with_their_numbers() {
        let mut layers = vec![layer("0", 0, 640, true)];
        layers[0].inner = vec![inner(0, 0), inner(0, 1), inner(1, 0), inner(1, 1)];
        let told: serde_json::Value = serde_json::from_str(&data(0, &layers)).unwrap();
        let all = &told["0"]["layers"];
        assert_eq!(all.as_array().unwrap().len(), 4);
        let one = serde_json::json!({
            "encodingId": "0", "rid": "0", "spatialLayerId": 1, "temporalLayerId": 0,
            "bitrate": 1000, "width": 640,
        });
        assert_eq!(all[2], one);
        assert_eq!(told["0"]["active"][0]["layers"], *all);
        let mut after = layers.clone();
        after[0].inner[0].bitrate_bps += 1;
        assert!(!have_changed(&layers, &after), "a rate is no change");
        after[0].inner.pop();
        assert!(have_changed(&layers, &after));
    }

    #[test]
    fn the_highest_layers_are_those_that_come_in() {
        assert_eq!(tops(&[[0; 3]; 3]), (0, 0));
        assert_eq!(tops(&[[5, 0, 0], [0; 3], [0; 3]]), (0, 0));
        assert_eq!(tops(&[[5, 4, 0], [3, 0, 0], [0; 3]]), (1, 1));
    }

    fn three() -> Vec<LayerView> {
        vec![
            layer("q", 0, 320, true),
            layer("h", 2, 640, true),
            layer("f", 3, 1280, false),
        ]
    }

    fn wish(json: &str) -> LayerWish {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_wish_is_resolved() {
        let pin = |json: &str| resolve(&wish(json), Some(1), &three());
        let at = |lane| Pin {
            lane: Some(lane),
            ..Pin::NONE
        };
        assert_eq!(pin("{}"), Ok(Pin::NONE));
        assert_eq!(pin("{\"mediaId\":\"1\"}"), Ok(Pin::NONE));
        assert_eq!(pin("{\"mediaId\":\"1\",\"encodingId\":\"h\"}"), Ok(at(2)));
        assert_eq!(pin("{\"rid\":\"q\",\"other\":[1]}"), Ok(at(0)));
        assert_eq!(pin("{\"maxWidth\":1000}"), Ok(at(2)));
        assert_eq!(pin("{\"maxHeight\":200}"), Ok(at(0)));
        let limited = pin("{\"temporalLayerId\":2,\"maxTemporalLayerId\":1,\"spatialLayerId\":0}");
        let expected = Pin {
            lane: None,
            spatial_max: 0,
            temporal_max: 1,
        };
        assert_eq!(limited, Ok(expected));
    }

    #[test]
    fn a_wish_that_cannot_be_granted_is_refused() {
        for (json, section, layers, status) in [
            ("{\"mediaId\":\"0\"}", Some(1), three(), 404),
            ("{}", None, Vec::new(), 404),
            ("{\"encodingId\":\"x\"}", Some(1), three(), 404),
            ("{\"encodingId\":\"f\"}", Some(1), three(), 409),
            ("{\"maxWidth\":10}", Some(1), three(), 404),
            ("{\"maxWidth\":10}", Some(1), Vec::new(), 409),
        ] {
            let refused = resolve(&wish(json), section, &layers).unwrap_err();
            assert_eq!(refused.status(), status, "{json}");
        }
    }

    #[test]
    fn layers_are_told_by_section_and_state() {
        let told: serde_json::Value = serde_json::from_str(&data(1, &three())).unwrap();
        let media = &told["1"];
        assert_eq!(media["active"].as_array().unwrap().len(), 2);
        assert_eq!(media["active"], media["layers"]);
        let half = serde_json::json!({
            "encodingId": "h", "rid": "h", "bitrate": 640_000, "width": 640, "height": 320,
        });
        assert_eq!(media["layers"][1], half);
        assert_eq!(media["inactive"][0]["encodingId"], "f");
        assert_eq!(media["inactive"][0]["bitrate"], 0);
    }

    #[test]
    fn a_rate_alone_is_no_change() {
        let (before, mut after) = (three(), three());
        after[0].bitrate_bps += 1;
        assert!(!have_changed(&before, &after));
        after[0].bitrate_bps = 0;
        assert!(have_changed(&after, &before), "it is known now");
        after[2].is_live = true;
        assert!(have_changed(&before, &after));
        assert!(have_changed(&before, &before[..2]));
    }
}
