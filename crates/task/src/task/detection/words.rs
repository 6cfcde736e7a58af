//! What goes wrong, in sentences that follow from the numbers alone.

use super::errors::title;
use crate::metrics::detection::{ClassConfusion, ClassErrors, DetectionErrors, DetectionScores, ErrorKind};
use crate::report::{count, percent};

/// The smallest cost that is mentioned: half of the last digit of a percentage.
const VISIBLE: f64 = 0.0005;

/// The most names that a sentence lists.
const NAMED: usize = 3;

/// A paragraph about the errors; `None` without objects.
pub fn in_words(scores: &DetectionScores, errors: &DetectionErrors) -> Option<String> {
    let ap50 = errors.all.ap50?;
    let sentences = [
        Some(boxes(scores, errors)),
        errors.confidence.map(|_| costs(ap50, errors)),
        confusions(&errors.confusions),
        lowest_classes(&errors.classes),
        small_objects(scores),
    ];
    Some(sentences.into_iter().flatten().collect::<Vec<String>>().join(" "))
}

/// What a person sees from the best confidence on.
fn boxes(scores: &DetectionScores, errors: &DetectionErrors) -> String {
    let all = &errors.all;
    let objects = counted(scores.instances, "object");
    let seen = errors.confidence.zip(all.hits.confident).zip(all.false_positive.confident);
    let Some(((confidence, hits), wrong)) = seen else {
        let (objects, wrong) = (count(scores.instances), count(all.false_positive.count));
        return format!("No object is found (0 of {objects}). Wrong boxes of any confidence: {wrong}.");
    };
    let mut kinds: Vec<(u64, ErrorKind)> = ErrorKind::ALL[..5]
        .iter()
        .filter_map(|kind| Some((all.cost(*kind).confident.filter(|count| *count > 0)?, *kind)))
        .collect();
    kinds.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    let kinds: Vec<String> =
        kinds.into_iter().map(|(number, kind)| format!("{} {}", count(number), title(kind))).collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
    let unfound = all.false_negative.confident.unwrap_or_default();
    format!(
        "From confidence {confidence:.3} on, {} of {} find an object and {} are wrong{kinds}; {} of {objects} are not found.",
        count(hits),
        counted(hits + wrong, "box"),
        count(wrong),
        count(unfound),
    )
}

/// The type that costs most, and the next. If nothing is found, all types hide each other.
fn costs(ap50: f64, errors: &DetectionErrors) -> String {
    let mut costs: Vec<(f64, ErrorKind)> = ErrorKind::ALL[..6]
        .iter()
        .filter_map(|kind| Some((errors.all.cost(*kind).dap.filter(|dap| *dap >= VISIBLE)?, *kind)))
        .collect();
    costs.sort_by(|a, b| b.0.total_cmp(&a.0));
    let now = format!("AP50 is {}", percent(ap50));
    let with = |dap: f64| percent(ap50 + dap);
    match costs[..] {
        [] => format!("{now}; no type of error alone costs a tenth of a point."),
        [(dap, kind)] => {
            format!("{now}; only {} would raise it, to {}.", without(kind), with(dap))
        }
        [(most, first), (next, second), ..] if percent(most) == percent(next) => format!(
            "{now}. It would rise most {} or {}, to {} each.",
            without(first),
            without(second),
            with(most)
        ),
        [(most, first), (next, second), ..] => format!(
            "{now}. It would rise most {}, to {}, and next {}, to {}.",
            without(first),
            with(most),
            without(second),
            with(next)
        ),
    }
}

/// An oracle in words.
fn without(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Classification => "if every well-placed box had the right class",
        ErrorKind::Localisation => "if every box of the right class fitted its object",
        ErrorKind::Both => "without the boxes of wrong class and place",
        ErrorKind::Duplicate => "without duplicates",
        ErrorKind::Background => "without boxes on background",
        ErrorKind::Missed => "without the missed objects",
        ErrorKind::FalsePositive => "without wrong boxes",
        ErrorKind::FalseNegative => "without the objects that are not found",
    }
}

/// The pair of classes that is confused most, among what a person sees.
fn confusions(pairs: &[ClassConfusion]) -> Option<String> {
    let most = pairs.first()?.confident.filter(|most| *most > 0)?;
    let pairs: Vec<&ClassConfusion> = pairs.iter().take_while(|pair| pair.confident == Some(most)).collect();
    let boxes = counted(most, "box");
    match pairs[..] {
        [ClassConfusion { truth, predicted, .. }] => {
            Some(format!("The most frequent confusion is “{truth}” detected as “{predicted}”: {boxes}."))
        }
        _ if pairs.len() <= NAMED => {
            let pair = |pair: &&ClassConfusion| format!("“{}” detected as “{}”", pair.truth, pair.predicted);
            let pairs: Vec<String> = pairs.iter().map(pair).collect();
            Some(format!("The most frequent confusions are {}: {boxes} each.", list(&pairs)))
        }
        _ => None,
    }
}

fn lowest_classes(classes: &[ClassErrors]) -> Option<String> {
    let known: Vec<(&ClassErrors, f64)> =
        classes.iter().filter_map(|class| Some((class, class.errors.ap50?))).collect();
    let least = known.iter().map(|(_, ap50)| *ap50).reduce(f64::min)?;
    let lowest: Vec<&ClassErrors> =
        known.iter().filter(|(_, ap50)| *ap50 == least).map(|(class, _)| *class).collect();
    if lowest.len() == known.len() {
        return None;
    }
    let least = percent(least);
    Some(match lowest[..] {
        [ClassErrors { class, instances, .. }] => {
            let objects = counted(*instances, "object");
            format!("The class with the lowest AP50 is “{class}”: {least}, of {objects}.")
        }
        _ if lowest.len() <= NAMED => {
            let names: Vec<String> = lowest.iter().map(|class| format!("“{}”", class.class)).collect();
            format!("The classes with the lowest AP50 are {}: {least}.", list(&names))
        }
        _ => format!("{} classes have the lowest AP50: {least}.", lowest.len()),
    })
}

/// How small objects compare with larger ones.
fn small_objects(scores: &DetectionScores) -> Option<String> {
    let small = scores.ap_small?;
    let other = |(other, name): (Option<f64>, &str)| {
        let other = other?;
        let compared = match (percent(small) == percent(other), small < other) {
            (true, _) => "as high as",
            (false, true) => "below",
            (false, false) => "above",
        };
        Some(format!("{compared} that of {name} objects ({})", percent(other)))
    };
    let others: Vec<String> =
        [(scores.ap_medium, "medium"), (scores.ap_large, "large")].into_iter().filter_map(other).collect();
    let small = percent(small);
    (!others.is_empty())
        .then(|| format!("AP50-95 of small objects (up to 32² pixels, {small}) is {}.", others.join(" and ")))
}

fn counted(number: u64, what: &str) -> String {
    let ending = match (number, what.ends_with('x')) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{} {what}{ending}", count(number))
}

fn list(items: &[String]) -> String {
    match items.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => items.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::detection::{
        Detection, DetectionMetrics, ErrorAnalysis, EvaluatedImage, GroundTruth,
    };

    fn detection(class: u32, score: f32, left: f64) -> Detection {
        Detection { class, score, corners: [left, 0.0, left + 10.0, 10.0] }
    }

    fn object(class: u32, left: f64, side: f64) -> GroundTruth {
        let corners = [left, 0.0, left + side, side];
        GroundTruth { class, corners, area: side * side, crowd: false, ignored: false }
    }

    fn words(images: &[(Vec<Detection>, Vec<GroundTruth>)]) -> Option<String> {
        let names = ["car", "truck", "tram"].map(str::to_owned);
        let mut metrics = DetectionMetrics::new(3);
        images.iter().for_each(|(detections, truth)| metrics.update(detections, truth).unwrap());
        let scores = metrics.finish(&names).unwrap();
        let images: Vec<EvaluatedImage> =
            images.iter().map(|(detections, truth)| EvaluatedImage { detections, truth }).collect();
        let analysis = ErrorAnalysis::of(3, &images).unwrap();
        in_words(&scores, &analysis.finish(&names, scores.best_confidence).unwrap())
    }

    /// With spaces that break.
    fn plain(images: &[(Vec<Detection>, Vec<GroundTruth>)]) -> String {
        words(images).unwrap().replace('\u{a0}', " ")
    }

    #[test]
    fn every_sentence_follows_from_the_numbers() {
        let truth = vec![
            object(0, 0.0, 10.0),
            object(0, 100.0, 10.0),
            object(1, 200.0, 10.0),
            object(2, 300.0, 10.0),
            object(2, 400.0, 40.0),
        ];
        let found = vec![
            detection(0, 0.9, 0.0),
            detection(0, 0.9, 100.0),
            detection(0, 0.9, 200.0),
            detection(2, 0.9, 300.0),
            detection(0, 0.9, 600.0),
        ];
        let expected = "From confidence 0.000 on, 3 of 5 boxes find an object and 2 are wrong (1 wrong class, \
                        1 background); 2 of 5 objects are not found. AP50 is 50.2 %. It would rise most if every \
                        well-placed box had the right class, to 83.5 %, and next without the missed objects, to 66.7 %. \
                        The most frequent confusion is “truck” detected as “car”: 1 box. The class with the lowest AP50 \
                        is “truck”: 0.0 %, of 1 object. AP50-95 of small objects (up to 32² pixels, 66.7 %) is above \
                        that of medium objects (0.0 %).";
        assert_eq!(plain(&[(found, truth)]), expected);
    }

    #[test]
    fn nothing_found_and_nothing_to_find() {
        let found = vec![detection(0, 0.5, 50.0)];
        let text = plain(&[(found.clone(), vec![object(0, 0.0, 10.0)])]);
        assert_eq!(text, "No object is found (0 of 1). Wrong boxes of any confidence: 1.");
        assert_eq!(words(&[(found, vec![])]), None);
        assert_eq!(words(&[]), None);
    }

    #[test]
    fn without_errors_there_is_no_complaint() {
        let truth = vec![object(0, 0.0, 10.0), object(1, 100.0, 10.0)];
        let found = vec![detection(0, 0.9, 0.0), detection(1, 0.9, 100.0)];
        let expected = "From confidence 0.000 on, 2 of 2 boxes find an object and 0 are wrong; 0 of 2 objects are not \
                        found. AP50 is 100.0 %; no type of error alone costs a tenth of a point.";
        assert_eq!(plain(&[(found, truth)]), expected);
    }

    #[test]
    fn equal_pairs_are_named_together() {
        let truth = vec![object(0, 0.0, 10.0), object(1, 100.0, 10.0), object(2, 200.0, 10.0)];
        let found = vec![detection(1, 0.9, 0.0), detection(0, 0.9, 100.0), detection(2, 0.9, 200.0)];
        let text = words(&[(found, truth)]).unwrap();
        assert!(
            text.contains("“truck” detected as “car” and “car” detected as “truck”: 1 box each."),
            "{text}"
        );
        assert!(text.contains("The classes with the lowest AP50 are “car” and “truck”"), "{text}");
    }
}
