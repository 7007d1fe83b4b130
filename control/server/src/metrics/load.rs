//! Owns the metrics of the load.

use super::{gauge, value};
use crate::control::LoadView;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use std::fmt;

/// The load of the node and of its parts, and who was refused for it.
pub(super) fn encode(load: &LoadView, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let brief = &load.brief;
    for (name, help, it) in [
        (
            "freshet_load",
            "Load of what is fullest, with those on their way in: 1 is full",
            brief.load,
        ),
        (
            "freshet_load_limit",
            "Viewers are let in up to this load; 0: always",
            brief.max_load,
        ),
        (
            "freshet_headroom_viewers",
            "Viewers that would still fit, each as costly as those who watch",
            super::float(brief.headroom_viewers),
        ),
        (
            "freshet_viewer_load",
            "What a viewer costs: part of a core",
            load.viewer_load,
        ),
    ] {
        value(&mut gauge(encoder, name, help)?, &[], it)?;
    }
    let help = "Load of the fullest of each kind, as measured; the greatest binds";
    let mut metric = gauge(encoder, "freshet_load_cause", help)?;
    for (cause, it) in &load.causes {
        value(&mut metric, &[("cause", cause)], *it)?;
    }
    let help = "Part of its time that a worker is not free";
    let mut metric = gauge(encoder, "freshet_core_load", help)?;
    for (core, it) in load.cores.iter().enumerate() {
        if let Some(it) = it {
            value(&mut metric, &[("core", &core.to_string())], *it)?;
        }
    }
    let help = "What a network device sends, of what it can";
    let mut metric = gauge(encoder, "freshet_device_load", help)?;
    for (device, it) in &load.devices {
        value(&mut metric, &[("device", device)], *it)?;
    }
    let help = "Newcomers refused because of the load";
    let name = "freshet_newcomer_refused";
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for refused in &load.refused {
        let labels = [
            ("newcomer", &refused.newcomer[..]),
            ("cause", &refused.cause[..]),
        ];
        metric
            .encode_family(&labels)?
            .encode_counter::<NoLabelSet, _, u64>(&refused.count, None)?;
    }
    Ok(())
}
