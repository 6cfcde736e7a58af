//! Describes the data for people: sizes of splits and classes, and duplicate files.

use std::collections::BTreeMap;

use defrost::data::{BoxSummary, ClassSummary, DatasetSummary, Duplicate};
use defrost::report::percent;

/// The maximum numbers of largest and of smallest classes that are shown.
const SHOWN: usize = 20;
/// The maximum number of pairs of equal files that are shown.
const SHOWN_DOUBLES: usize = 3;

/// The splits of a data set with their requested fractions, and the number of images per class and split.
pub fn lines(summary: &DatasetSummary) -> Vec<String> {
    let mut lines = Vec::new();
    for part in &summary.parts {
        let Some(asked) = part.asked.filter(|asked| *asked > 0.0) else { continue };
        let groups = part.groups.map(|groups| format!(" in {groups} groups")).unwrap_or_default();
        let (word, got) = (part.part.in_words(), percent(part.got));
        lines.push(format!("{word}: {} images{groups}, {got} (requested: {})", part.images, percent(asked)));
    }
    let (shown, more) = chosen(&summary.classes);
    let header = if summary.multi_label { "label" } else { "class" };
    let names: Vec<String> = shown.iter().map(|class| plain(&class.name)).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(header.len());
    lines.push(format!("{header:width$}  {:>10}  {:>10}  {:>10}", "training", "validation", "test"));
    for (place, (class, name)) in shown.iter().zip(names).enumerate() {
        if more > 0 && place == SHOWN {
            lines.push(format!("… {more} more; `--json` lists all …"));
        }
        let boxes = boxes_of(summary, class);
        let cell = |part: usize| match (class.groups, boxes) {
            (_, Some(boxes)) if boxes[part] > 0 => format!("{} in {}", boxes[part], class.images[part]),
            (Some(groups), None) if class.images[part] > 0 => {
                format!("{} ({})", class.images[part], groups[part])
            }
            _ => class.images[part].to_string(),
        };
        lines.push(format!("{name:width$}  {:>10}  {:>10}  {:>10}", cell(0), cell(1), cell(2)));
    }
    if let Some(boxes) = &summary.boxes {
        lines.push("(boxes in images)".to_owned());
        lines.extend(box_lines(boxes));
    } else if summary.classes.iter().any(|class| class.groups.is_some()) {
        lines.push("(in parentheses: groups)".to_owned());
    }
    if summary.unlabelled > 0 {
        lines.push(format!("{} images without any label", summary.unlabelled));
    }
    lines
}

/// The numbers of a class's boxes, if images have boxes.
fn boxes_of(summary: &DatasetSummary, class: &ClassSummary) -> Option<[usize; 3]> {
    let place = summary.classes.iter().position(|other| other.name == class.name)?;
    summary.boxes.as_ref()?.of_classes.get(place).copied()
}

/// The numbers of boxes and of images without any, and the sizes of boxes.
fn box_lines(boxes: &BoxSummary) -> Vec<String> {
    let row = |name: &str, [training, validation, test]: [usize; 3]| {
        (training + validation + test > 0)
            .then(|| format!("{name}: {training} training, {validation} validation, {test} test"))
    };
    let sizes = boxes.sizes.map(|[small, medium, large]| {
        format!(
            "box sizes: {small} small (below 32 × 32 pixels), {medium} medium (below 96 × 96), {large} large"
        )
    });
    let all = [
        row("boxes", boxes.boxes),
        row("ignored boxes (crowds and difficult objects)", boxes.ignored),
        row("background images, without a box", boxes.background),
        sizes,
    ];
    all.into_iter().flatten().collect()
}

/// All classes in order. If there are many, the largest and the smallest, sorted by size, and the number of omitted
/// ones.
fn chosen(classes: &[ClassSummary]) -> (Vec<&ClassSummary>, usize) {
    let mut all: Vec<&ClassSummary> = classes.iter().collect();
    let more = all.len().saturating_sub(2 * SHOWN);
    if more > 0 {
        all.sort_by_key(|class| std::cmp::Reverse(class.images.iter().sum::<usize>()));
        all.drain(SHOWN..SHOWN + more);
    }
    (all, more)
}

/// A name, unchanged if it is easy to read. Otherwise it is quoted and escaped: white space at an end, control
/// characters, and marks that change the writing direction are easily missed.
pub fn plain(name: &str) -> String {
    let seen = |c: char| matches!(c, '"' | '\'' | '\\') || is_accent(c) || c.escape_debug().len() == 1;
    let plain = name.trim() == name && !name.is_empty() && name.chars().all(seen);
    if plain { name.to_owned() } else { format!("{name:?}") }
}

/// A combining accent, such as the one in a decomposed é.
fn is_accent(c: char) -> bool {
    ('\u{300}'..='\u{36f}').contains(&c)
}

/// A warning about equal files in two splits, or in two classes.
pub fn doubles(data: &str, summary: &DatasetSummary) -> Option<String> {
    let doubles = &summary.doubles;
    let noun = if doubles.count == 1 { "file is" } else { "files are" };
    let mut warning = format!(
        "`{data}`: {} {noun} duplicated ({} in two splits, {} in two classes)",
        doubles.count, doubles.across_parts, doubles.across_classes
    );
    for Duplicate { files, parts, classes } in doubles.pairs.iter().take(SHOWN_DOUBLES) {
        let side = |side: usize| {
            format!("`{}` ({}, {})", plain(&files[side]), parts[side].name(), plain(&classes[side]))
        };
        warning += &format!("\n    {} = {}", side(0), side(1));
    }
    if doubles.count > SHOWN_DOUBLES {
        warning += &format!("\n    and {} more", doubles.count - SHOWN_DOUBLES);
    }
    (doubles.count > 0).then_some(warning)
}

/// The summaries of several runs, with each data set once.
pub fn once(all: impl Iterator<Item = BTreeMap<String, DatasetSummary>>) -> Vec<(String, DatasetSummary)> {
    let mut found: Vec<(String, DatasetSummary)> = Vec::new();
    all.for_each(|one| add(&mut found, one));
    found
}

/// Adds the summaries of one run that are not there yet.
pub fn add(found: &mut Vec<(String, DatasetSummary)>, of_run: BTreeMap<String, DatasetSummary>) {
    for one in of_run {
        if !found.contains(&one) {
            found.push(one);
        }
    }
}
