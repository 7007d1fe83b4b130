//! Owns the layers of a stream's video: what viewers are told of them, and which they may choose.

use super::source::video;
use super::stream::Stream;
use crate::control::{LayerInfo, LayerWish};
use crate::problem::Problem;
use link::command::VIDEO;
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
}

/// The layers of a stream's video, the lowest first; none if it has no video.
pub(super) fn layers_of(stream: &Stream, is_live: bool) -> Vec<LayerView> {
    let layers = encodings_of(stream, is_live);
    if !layers.is_empty() {
        return layers;
    }
    let progress = stream.active.as_ref().map(|active| active.progress);
    let only = video(stream, &progress.unwrap_or_default()).map(|video| LayerView {
        encoding_id: ONLY.to_owned(),
        lane: u8::try_from(VIDEO).unwrap_or(0),
        bitrate_bps: video.bitrate_bps.unwrap_or(0),
        is_live,
        width: video.width,
        height: video.height,
    });
    only.into_iter().collect()
}

/// The encodings of a publisher that sends several, the lowest first.
pub(super) fn encodings_of(stream: &Stream, is_live: bool) -> Vec<LayerView> {
    let encodings = stream.active.as_ref().map(|active| &active.encodings[..]);
    let known = |pixels: u16| (pixels > 0).then_some(u32::from(pixels));
    let layers = encodings.unwrap_or_default().iter().map(|one| LayerView {
        encoding_id: one.name.clone(),
        lane: u8::try_from(one.lane).unwrap_or(0),
        bitrate_bps: one.bitrate_bps,
        is_live: is_live && one.bitrate_bps > 0,
        width: known(one.size.0),
        height: known(one.size.1),
    });
    let mut layers: Vec<_> = layers.collect();
    // Those that are off keep the order in which they were offered.
    layers.sort_by_key(|layer| match layer.is_live {
        true => layer.bitrate_bps,
        false => u64::MAX,
    });
    layers
}

impl From<LayerView> for LayerInfo {
    fn from(layer: LayerView) -> Self {
        Self {
            id: layer.encoding_id,
            live: layer.is_live,
            width: layer.width,
            height: layer.height,
            bitrate_bps: layer.bitrate_bps,
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
    let media = Media {
        active: told(true),
        inactive: told(false),
        layers: told(true),
    };
    // Strings and numbers only: serialising them cannot fail.
    let media = serde_json::to_string(&media).unwrap_or_default();
    format!("{{\"{section}\":{media}}}")
}

/// True if viewers would have to be told, were it not for the rates, which never stay the same.
pub(super) fn have_changed(before: &[LayerView], after: &[LayerView]) -> bool {
    let shape = |layer: &LayerView| LayerView {
        bitrate_bps: u64::from(layer.bitrate_bps > 0),
        ..layer.clone()
    };
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
    bitrate: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u32>,
}

impl<'a> Told<'a> {
    fn of(layer: &'a LayerView) -> Self {
        Self {
            encoding_id: &layer.encoding_id,
            rid: &layer.encoding_id,
            // Of an inactive layer it is 0; of one that has just begun it is not known.
            bitrate: match layer.is_live {
                true => Some(layer.bitrate_bps).filter(|bps| *bps > 0),
                false => Some(0),
            },
            width: layer.width,
            height: layer.height,
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
        }
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
