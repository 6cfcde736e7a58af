//! Checks of an evaluation's subsets that no schema can express.

use regex::Regex;

use super::pattern::regex_error;
use super::unchecked::UncheckedPipeline;
use super::{Data, Difficult, LabelKind, Subset};

/// The subsets of the stage at `path`.
pub fn check(draft: &mut UncheckedPipeline, name: &str, path: &str) {
    let compares = ["verification", "identification"]
        .into_iter()
        .find(|key| draft.get(&format!("{path}.{key}")).is_some());
    let at = format!("{path}.subsets");
    if draft.get(&at).is_none() {
        return;
    }
    if let Some(key) = compares {
        let message = format!("`subsets` has no scores to report apart with `{key}`");
        let help = format!("remove `subsets`, or `{key}`");
        return draft.report(draft.key_span(&at), "conflict", message, help);
    }
    let kind = draft.label_kind(name);
    let data = draft.name_of(name, "data").unwrap_or_default();
    if let Some(other) = kind.filter(|kind| ![LabelKind::Class, LabelKind::Boxes].contains(kind)) {
        let has = other.in_words();
        let message = format!("`subsets` needs boxes or one class per image, but `data.{data}` {has}");
        return draft.report(draft.key_span(&at), "conflict", message, "remove `subsets`".to_owned());
    }
    for (subset, _) in draft.entries(&at) {
        let at = format!("{at}.{subset}");
        let Some(settings) = draft.read::<Subset>(&at) else { continue };
        if settings.divides_objects() && kind.is_some_and(|kind| kind != LabelKind::Boxes) {
            let by = settings.by();
            let message =
                format!("`by = \"{by}\"` needs boxes, but `data.{data}` has classes of whole images");
            let help = "divide images by `tag` or `path`".to_owned();
            draft.report(draft.span(&format!("{at}.by")), "conflict", message, help);
            continue;
        }
        match settings {
            Subset::Path(settings) => pattern(draft, &format!("{at}.pattern"), &settings.pattern),
            Subset::Difficult(_) => marks_difficult(draft, data, &at),
            Subset::Tag(_) | Subset::Size(_) | Subset::Mask(_) => {}
        }
    }
}

fn pattern(draft: &mut UncheckedPipeline, at: &str, pattern: &str) {
    let place = draft.span(at);
    let groups = match Regex::new(pattern) {
        Err(error) => return draft.report(place, "bad-regex", regex_error(&error), None),
        Ok(regex) => regex.captures_len() - 1,
    };
    let (message, help) = match groups {
        0 => (
            "`pattern` has no capture group, which is the value".to_owned(),
            format!("put the part that is the value in parentheses, such as `({pattern})`"),
        ),
        1 => return,
        more => (
            format!("`pattern` has {more} capture groups, and one is the value"),
            "write groups that are no value as `(?:…)`".to_owned(),
        ),
    };
    draft.report(place, "bad-regex", message, help);
}

/// Only Pascal VOC's files mark objects as difficult.
fn marks_difficult(draft: &mut UncheckedPipeline, data: &str, at: &str) {
    let (message, help) = match draft.read::<Data>(&format!("data.{data}")) {
        Some(Data::Voc(voc)) if voc.difficult == Difficult::Ignore => return,
        None => return,
        Some(Data::Voc(_)) => (
            format!("`data.{data}` keeps difficult objects like all others"),
            format!("set `data.{data}.difficult = \"ignore\"`, or remove the subset"),
        ),
        Some(_) => (
            format!("the format of `data.{data}` marks no object as difficult"),
            "remove the subset: Pascal VOC's files mark difficult objects".to_owned(),
        ),
    };
    draft.report(draft.span(&format!("{at}.by")), "no-effect", message, help);
}
