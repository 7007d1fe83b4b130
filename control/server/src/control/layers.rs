//! Owns the layers of a video as the API tells them, and what a viewer says of those that it wants
//! (webrtc-http-egress-events section 5).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Which layers of a video a viewer wants; what is left out is not limited, and nothing at all
/// gives the choice back to the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LayerWish {
    /// Index of the m-line; the video's if it is left out.
    pub media_id: Option<String>,
    /// The simulcast encoding, as the event `layers` names it; also taken as `rid`.
    #[serde(alias = "rid")]
    pub encoding_id: Option<String>,
    /// The spatial layer.
    pub spatial_layer_id: Option<u8>,
    /// The temporal layer.
    pub temporal_layer_id: Option<u8>,
    /// The highest spatial layer.
    pub max_spatial_layer_id: Option<u8>,
    /// The highest temporal layer.
    pub max_temporal_layer_id: Option<u8>,
    /// The greatest width in pixels.
    pub max_width: Option<u32>,
    /// The greatest height in pixels.
    pub max_height: Option<u32>,
}

/// One of several encodings of a video track.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct LayerInfo {
    /// The publisher's name for it.
    #[schema(example = "h")]
    pub id: String,
    /// It comes in now.
    pub live: bool,
    /// Width in pixels, where the packets tell.
    pub width: Option<u32>,
    /// Height in pixels, where the packets tell.
    pub height: Option<u32>,
    /// Bits a second, over the last second.
    pub bitrate_bps: u64,
    /// What of it a viewer may be sent, the smallest picture first; none if it has one layer.
    pub layers: Vec<InnerLayerInfo>,
}

/// The layers of one encoding up to a spatial and a temporal one: a viewer of them is sent all
/// those below as well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct InnerLayerInfo {
    /// The spatial layer, from 0.
    pub spatial: u8,
    /// The temporal layer, from 0.
    pub temporal: u8,
    /// Width in pixels, where the packets tell.
    pub width: Option<u32>,
    /// Height in pixels, where the packets tell.
    pub height: Option<u32>,
    /// Bits a second of it and of all below, over the last second.
    pub bitrate_bps: u64,
}
