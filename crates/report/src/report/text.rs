//! Text: its width in figures, shortening, and number formats.

use crate::freeze::{FreezeSummary, UnfreezeSummary};
use crate::metrics::MetricFormat;
use crate::sanitize;

/// Advance widths of U+0020 to U+007E in Inter Regular, in 2048ths of the font size (its `hmtx` table).
#[rustfmt::skip]
const ADVANCES: [u16; 95] = [
    576, 589, 954, 1297, 1314, 2011, 1319, 614, 747, 747, 1026, 1355, 590, 942, 590, 738, 1292, 833, 1249, 1265,
    1323, 1215, 1270, 1159, 1267, 1270, 590, 618, 1355, 1355, 1355, 1047, 1978, 1413, 1340, 1496, 1478, 1231, 1209,
    1528, 1522, 550, 1169, 1376, 1158, 1850, 1543, 1566, 1308, 1566, 1318, 1314, 1322, 1524, 1413, 2018, 1397, 1390,
    1288, 747, 738, 747, 965, 934, 661, 1150, 1254, 1170, 1254, 1194, 758, 1256, 1211, 496, 496, 1124, 496, 1794,
    1210, 1228, 1254, 1254, 771, 1081, 670, 1211, 1151, 1676, 1118, 1151, 1131, 873, 681, 873, 1355,
];

/// The approximate width of a text in pixels, rounded up: exact for ASCII in the regular weight.
pub fn width(text: &str, size: f64) -> f64 {
    let advance = |c: char| match c as u32 {
        point @ 0x20..=0x7e => f64::from(ADVANCES[point as usize - 0x20]) / 2048.0,
        0..0x2e80 => 0.62,
        _ => 1.0, // Chinese, Japanese, Korean and emoji stand in squares
    };
    text.chars().map(advance).sum::<f64>() * size
}

/// Shortens a text to a width by removing its middle, because class names often differ at either end.
pub fn fit(text: &str, size: f64, room: f64) -> String {
    if width(text, size) <= room {
        return text.to_owned();
    }
    let chars: Vec<char> = text.chars().collect();
    let shortened = |kept: usize| {
        let (front, back) = (kept.div_ceil(2), kept / 2);
        let text = |part: &[char]| part.iter().collect::<String>();
        format!("{}…{}", text(&chars[..front]).trim_end(), text(&chars[chars.len() - back..]).trim_start())
    };
    let kept = (1..chars.len()).rev().find(|&kept| width(&shortened(kept), size) <= room);
    shortened(kept.unwrap_or(1))
}

/// Escapes text for XML elements and attributes, and makes invisible characters visible.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in sanitize::line(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A coordinate: two decimals at most, never `-0`.
pub fn coordinate(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// A number for people: four significant digits, without trailing zeros, as `0.6931`, `12.5`, `1.5e-5`.
pub fn number(value: f64) -> String {
    significant(value, 4)
}

/// `0.8 s`, `42 s`, `3 min 07 s`, `2 h 05 min`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match seconds {
        ..9.95 => format!("{} s", number((seconds * 10.0).round() / 10.0)),
        ..59.5 => format!("{whole} s"),
        ..3599.5 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// The shortest form of a setting that loses no digit: `0.001`, `1e-5`.
pub fn shortest(value: f64) -> String {
    let (plain, scientific) = (value.to_string(), format!("{value:e}"));
    if scientific.len() < plain.len() { scientific } else { plain }
}

/// Such as `frozen: layers 0–2 (45,568 parameters, 6 of 81 BatchNorms in eval); trainable: 9,384,143`.
pub fn freeze_summary(summary: &FreezeSummary) -> String {
    let FreezeSummary { frozen_parameters, frozen_tensors, frozen_layers, .. } = summary;
    let parameters = format!("{} parameters", count(*frozen_parameters));
    let norms = match (summary.norms_in_eval, summary.norms) {
        (_, 0) => None,
        (eval, norms) => Some(format!("{eval} of {norms} BatchNorms in eval")),
    };
    let run = |run: &std::ops::RangeInclusive<usize>| match (run.start(), run.end()) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}–{last}"),
    };
    let inside = |first: Option<String>| {
        let inside: Vec<String> = first.into_iter().chain(norms.clone()).collect();
        if inside.is_empty() { String::new() } else { format!(" ({})", inside.join(", ")) }
    };
    let frozen = match (frozen_tensors, &frozen_layers[..]) {
        (0, _) => {
            let norms = norms.clone().filter(|_| summary.norms_in_eval > 0);
            format!("nothing frozen{}", norms.map_or_else(String::new, |norms| format!(" ({norms})")))
        }
        (tensors, []) => {
            let tensors = if *tensors == 1 { "1 tensor".to_owned() } else { format!("{tensors} tensors") };
            format!("frozen: {parameters} in {tensors}{}", inside(None))
        }
        (_, runs) => {
            let one = matches!(runs, [only] if only.start() == only.end());
            let runs: Vec<String> = runs.iter().map(run).collect();
            let word = if one { "layer" } else { "layers" };
            format!("frozen: {word} {}{}", runs.join(", "), inside(Some(parameters)))
        }
    };
    let joins: Vec<String> = summary.unfreezes_after.iter().map(|after| (after + 1).to_string()).collect();
    let joins = match &joins[..] {
        [] => String::new(),
        [epoch] => format!("; more from epoch {epoch}"),
        epochs => format!("; more from epochs {}", epochs.join(", ")),
    };
    let adapters = match summary.adapter_parameters {
        0 => String::new(),
        all if all == summary.trainable_parameters => " in adapters".to_owned(),
        some => format!(", {} of them in adapters", count(some)),
    };
    format!("{frozen}; trainable: {}{adapters}{joins}", count(summary.trainable_parameters))
}

/// Such as `from epoch 4: 15 tensors, 8,393,728 parameters at lr 1e-4, layer4.0 … layer4.1`.
pub fn unfreeze_summary(joining: &UnfreezeSummary) -> String {
    let rates = match joining.lr {
        None => String::new(),
        Some([low, high]) if low == high => format!(" at lr {}", shortest(low)),
        Some([low, high]) => format!(" at lr {} to {}", number(low), number(high)),
    };
    let layers = match &joining.layers[..] {
        [] => String::new(),
        [only] => format!(", {only}"),
        [first, second] => format!(", {first} and {second}"),
        [first, .., last] => format!(", {first} … {last}"),
    };
    let (epoch, tensors) = (joining.after_epochs + 1, joining.tensors);
    format!("from epoch {epoch}: {tensors} tensors, {} parameters{rates}{layers}", count(joining.parameters))
}

/// A number with this many significant digits, without trailing zeros.
pub fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let fraction = digits - 1;
    let scientific = format!("{value:.fraction$e}");
    let (mantissa, exponent) = scientific.split_once('e').expect("`{:e}` writes an exponent");
    let exponent: i32 = exponent.parse().expect("`{:e}` writes an integer exponent");
    if !(-4..6).contains(&exponent) {
        return format!("{}e{exponent}", mantissa.trim_end_matches('0').trim_end_matches('.'));
    }
    let decimals = (fraction as i32 - exponent).max(0) as usize;
    let text = format!("{value:.decimals$}");
    if decimals == 0 { text } else { text.trim_end_matches('0').trim_end_matches('.').to_owned() }
}

/// A fraction of 1 as a percentage with one decimal: `91.2 %`, with a no-break space.
pub fn percent(share: f64) -> String {
    format!("{:.1}\u{a0}%", share * 100.0)
}

/// A value of a metric: a fraction as a percentage, another number with four significant digits.
pub fn value_text(format: MetricFormat, value: f64) -> String {
    match format {
        MetricFormat::Percent | MetricFormat::Share => percent(value),
        MetricFormat::Number => number(value),
    }
}

/// The same for columns: a number that is not a fraction has four decimals, like the others in its column.
pub fn column_text(format: MetricFormat, value: f64) -> String {
    match format {
        MetricFormat::Percent | MetricFormat::Share => percent(value),
        MetricFormat::Number => format!("{value:.4}"),
    }
}

/// A count with thousands separators: `23,512,130`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_frozen_fits_one_line() {
        let summary = FreezeSummary {
            trainable_parameters: 9_384_143,
            adapter_parameters: 0,
            frozen_parameters: 45_568,
            frozen_tensors: 18,
            frozen_layers: vec![0..=2],
            norms_in_eval: 6,
            norms: 81,
            unfreezes_after: Vec::new(),
        };
        assert_eq!(
            freeze_summary(&summary),
            "frozen: layers 0–2 (45,568 parameters, 6 of 81 BatchNorms in eval); trainable: 9,384,143"
        );
        let runs = FreezeSummary { frozen_layers: vec![0..=0, 4..=5], ..summary.clone() };
        assert!(freeze_summary(&runs).starts_with("frozen: layers 0, 4–5 (45,568 parameters, "));
        let one = FreezeSummary { frozen_layers: vec![3..=3], norms: 0, norms_in_eval: 0, ..summary.clone() };
        assert_eq!(freeze_summary(&one), "frozen: layer 3 (45,568 parameters); trainable: 9,384,143");
        let parts = FreezeSummary { frozen_layers: vec![], unfreezes_after: vec![2, 5], ..summary.clone() };
        assert_eq!(
            freeze_summary(&parts),
            "frozen: 45,568 parameters in 18 tensors (6 of 81 BatchNorms in eval); trainable: 9,384,143; more from epochs 3, 6"
        );
        let adapters = FreezeSummary { adapter_parameters: 9_000_000, ..parts.clone() };
        assert!(
            freeze_summary(&adapters).contains("; trainable: 9,384,143, 9,000,000 of them in adapters; more")
        );
        let none =
            FreezeSummary { frozen_parameters: 0, frozen_tensors: 0, frozen_layers: vec![], ..summary };
        assert_eq!(
            freeze_summary(&FreezeSummary { norms_in_eval: 0, ..none.clone() }),
            "nothing frozen; trainable: 9,384,143"
        );
        assert_eq!(
            freeze_summary(&none),
            "nothing frozen (6 of 81 BatchNorms in eval); trainable: 9,384,143"
        );
    }

    #[test]
    fn long_names_lose_their_middle_and_fit() {
        let name = "American Staffordshire bull terrier";
        let short = fit(name, 12.0, 120.0);
        assert_eq!(short, "American St…ll terrier");
        assert!(width(&short, 12.0) <= 120.0);
        assert_eq!(fit("cat", 12.0, 120.0), "cat");
        assert_eq!(fit("海龟海龟海龟", 10.0, 1.0), "海…");
    }

    #[test]
    fn numbers_read_as_a_person_would_write_them() {
        let shown = [0.712345, 12.5, 1.5e-5, 1e-3, 1234567.0, 0.99999, 0.0, -2.5, 12345.0].map(number);
        assert_eq!(shown, ["0.7123", "12.5", "1.5e-5", "0.001", "1.235e6", "1", "0", "-2.5", "12345"]);
        assert_eq!([999, 1000, 23512130].map(count), ["999", "1,000", "23,512,130"]);
        assert_eq!([1.0, 2.5, -0.001, 1.456].map(coordinate), ["1", "2.5", "0", "1.46"]);
    }

    #[test]
    fn class_names_cannot_break_out_of_the_markup() {
        assert_eq!(escape("<a href=\"x\">&\u{1}\n"), "&lt;a href=&quot;x&quot;&gt;&amp;\\u{1}\\n");
    }

    #[test]
    fn durations_are_short() {
        let shown = [0.04, 0.84, 9.96, 42.4, 59.7, 187.0, 3599.6, 7500.0].map(duration);
        assert_eq!(
            shown,
            ["0 s", "0.8 s", "10 s", "42 s", "1 min 00 s", "3 min 07 s", "1 h 00 min", "2 h 05 min"]
        );
    }
}
