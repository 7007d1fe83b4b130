//! Owns what a viewer says of the video layers that it wants (webrtc-http-egress-events section 5).

use serde::Deserialize;
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
