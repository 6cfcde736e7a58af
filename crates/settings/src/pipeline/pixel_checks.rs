//! Checks of depth, channels and colours of pixels that no schema can express.

use super::document::Node;
use super::unchecked::UncheckedPipeline;
use super::{Augment, Color, Normalize, RGB_CHANNELS};

/// The settings of pixels of one data set.
struct PixelSettings {
    channels: usize,
    color: Color,
    /// Whether one of them differs from its default, so that pixels are read at their own depth.
    stored: bool,
}

/// `None` if a setting does not fit its schema.
fn settings(draft: &UncheckedPipeline, path: &str) -> Option<PixelSettings> {
    let at = |key: &str| format!("{path}.{key}");
    let given = |key: &str| draft.get(&at(key)).is_some();
    let channels = match given("channels") {
        // The schema refuses an image without channels.
        true => draft.read(&at("channels")).filter(|channels| *channels > 0)?,
        false => RGB_CHANNELS,
    };
    let color: Color = if given("color") { draft.read(&at("color"))? } else { Color::default() };
    let stored = given("range") || channels != RGB_CHANNELS || !color.is_default();
    Some(PixelSettings { channels, color, stored })
}

/// The settings of a data set.
pub fn data(draft: &mut UncheckedPipeline, path: &str) {
    let at = |key: &str| format!("{path}.{key}");
    if let Some([low, high]) = draft.read::<[f64; 2]>(&at("range"))
        && low >= high
    {
        let message = format!("`range` has its larger value first: {low}, {high}");
        let help = format!("write the value of black, then that of white: `[{high}, {low}]`");
        draft.report(draft.span(&at("range")), "conflict", message, help);
    }
    let Some(PixelSettings { channels, color, stored }) = settings(draft, path) else { return };
    if channels != RGB_CHANNELS && !color.is_default() {
        let message = format!("`log_chromaticity` needs red, green and blue, and `channels` is {channels}");
        draft.report(draft.span(&at("color")), "conflict", message, "remove one of them".to_owned());
    }
    statistics(draft, path, channels);
    for (key, usual) in [("grey16", "high_byte"), ("transparency", "white")] {
        // The resolved file of a run has all defaults.
        let differs = draft.get(&at(key)).and_then(Node::text).is_some_and(|text| text != usual);
        if stored && differs {
            let message = format!("`{key}` has no effect: pixels are read as they are stored");
            let help = format!("remove `{key}`, or `range`, `channels` and `color`");
            draft.report(draft.key_span(&at(key)), "no-effect", message, help);
        }
    }
}

/// Whether there is a mean and a standard deviation for each channel.
fn statistics(draft: &mut UncheckedPipeline, path: &str, channels: usize) {
    let at = format!("{path}.normalize");
    let help =
        format!("write `{{ mean = [ … ], std = [ … ] }}` with one number for each of {channels} channels");
    let (place, message) = match draft.get(&at) {
        None if channels == RGB_CHANNELS => return,
        None => {
            let message =
                format!("statistics of the architecture are for {RGB_CHANNELS} channels, not {channels}");
            (draft.span(&format!("{path}.channels")), format!("`normalize` is missing: {message}"))
        }
        Some(_) => match draft.read::<Normalize>(&at) {
            None => {
                let length =
                    |key: &str| draft.read::<Vec<f64>>(&format!("{at}.{key}")).map(|list| list.len());
                let (Some(means), Some(stds)) = (length("mean"), length("std")) else { return };
                if means == stds {
                    return;
                }
                (
                    draft.span(&format!("{at}.std")),
                    format!("`mean` has {means} numbers, and `std` has {stds}"),
                )
            }
            Some(normalize) if normalize.of_channels(channels).is_some() => return,
            Some(normalize) => {
                let found = normalize.mean.len();
                (draft.span(&at), format!("these statistics are for {found} channels, not {channels}"))
            }
        },
    };
    draft.report(place, "channels", message, help);
}

/// The random changes of a train stage to the pixels of its data set.
pub fn augment(draft: &mut UncheckedPipeline, stage: &str, path: &str) {
    let Some(data) = draft.name_of(stage, "data") else { return };
    let Some(PixelSettings { channels, color, stored }) = settings(draft, &format!("data.{data}")) else {
        return;
    };
    let Some(augment) = draft.read::<Augment>(path) else { return };
    if stored && augment.rand_augment.is_some() {
        let message = format!(
            "`rand_augment` changes 8-bit RGB images only, and `data.{data}` reads pixels as they are stored"
        );
        let help = "use the other random changes, such as `color_jitter`".to_owned();
        draft.report(draft.key_span(&format!("{path}.rand_augment")), "conflict", message, help);
    }
    let cause = match color {
        _ if channels != RGB_CHANNELS => format!("images have {channels} channels"),
        Color::Srgb => return,
        Color::LogChromaticity(_) => "log-chromaticity has no such property".to_owned(),
    };
    if let Some(hsv) = &augment.hsv {
        let wrong: Vec<&str> = [("hue", hsv.hue), ("saturation", hsv.saturation)]
            .into_iter()
            .filter_map(|(key, most)| (most > 0.0).then_some(key))
            .collect();
        if let Some(first) = wrong.first() {
            let what = wrong.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(" and ");
            let are = if wrong.len() == 1 { "is a property" } else { "are properties" };
            let message = format!("{what} of `hsv` {are} of RGB colours, and {cause}");
            let place = draft.key_span(&format!("{path}.hsv.{first}"));
            // The settings may be those of a preset, which the stage's own replace.
            let help = "write `hsv = { hue = 0, saturation = 0 }` in the stage's `augment`; `value` applies";
            draft.report(place, "conflict", message, help.to_owned());
        }
    }
    if augment.grayscale > 0.0 {
        let message = format!("grey is made of RGB colours, and {cause}");
        let place = draft.key_span(&format!("{path}.grayscale"));
        draft.report(place, "conflict", message, "remove `grayscale`".to_owned());
    }
    let Some(jitter) = augment.color_jitter else { return };
    for (key, _) in
        [("saturation", jitter.saturation), ("hue", jitter.hue)].iter().filter(|(_, most)| *most > 0.0)
    {
        let message = format!("`{key}` is a property of RGB colours, and {cause}");
        let place = draft.key_span(&format!("{path}.color_jitter.{key}"));
        draft.report(
            place,
            "conflict",
            message,
            format!("remove `{key}`; `brightness` and `contrast` apply"),
        );
    }
}
