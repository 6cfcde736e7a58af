//! An evaluation of embeddings on the report's page.

use maud::{Markup, PreEscaped, html};

use super::data::Recognition;
use super::html_stage::tile;
use super::recognition::{HardPair, match_curve, roc_curve};
use super::text::{count, number, percent, significant};

/// How many of the hardest pairs of each kind are shown.
const SHOWN: usize = 6;

pub(super) fn card(stage: &str, recognition: &Recognition) -> Markup {
    let (verification, identification) = (&recognition.verification, &recognition.identification);
    html! {
        div.tiles {
            @if let Some(found) = verification {
                (tile(&percent(found.eer), "equal error rate"))
                (tile(&number(found.auc), "area under the ROC curve"))
                @for at in &found.tar_at_far {
                    (tile(&percent(at.tar), &format!("TAR at FAR {}\u{a0}%", significant(at.far * 100.0, 3))))
                }
                (tile(&percent(found.accuracy), "accuracy at the best threshold"))
            }
            @if let Some(found) = identification {
                (tile(&percent(found.rank1), "rank 1"))
                (tile(&percent(found.rank5), "rank 5"))
                (tile(&percent(found.mean_average_precision), "mAP"))
            }
            (tile(&count(recognition.images), "images"))
        }
        @if let Some(found) = verification {
            p.muted {
                (count(found.genuine_pairs)) " genuine pairs, " (count(found.impostor_pairs)) " impostors; embeddings of "
                (recognition.dimension) " numbers"
            }
            div.picture { (PreEscaped(roc_curve(stage, found, &recognition.roc).inline())) }
        }
        @if let Some(found) = identification {
            p.muted {
                (count(found.queries)) " queries, each looked up in " (count(found.gallery)) " images; "
                (count(found.unmatched_queries)) " more have no match there"
            }
            div.picture {
                (PreEscaped(match_curve(stage, found.mean_average_precision, &found.cmc).inline()))
            }
        }
        (hardest(&recognition.hardest))
    }
}

/// The one result that the overview shows.
pub(super) fn key_result(recognition: &Recognition) -> String {
    let verification = recognition.verification.as_ref();
    let identification = recognition.identification.as_ref();
    let verified = verification.map(|found| format!("EER {}, AUC {}", percent(found.eer), number(found.auc)));
    let identified = identification.map(|found| {
        format!("rank 1 {}, mAP {}", percent(found.rank1), percent(found.mean_average_precision))
    });
    verified.into_iter().chain(identified).collect::<Vec<_>>().join(", ")
}

/// Pairs where labels are wrong or pictures ambiguous are here.
fn hardest(pairs: &[HardPair]) -> Markup {
    let of = |risk: &'static str| pairs.iter().filter(move |pair| pair.risk == risk).take(SHOWN);
    html! {
        @if !pairs.is_empty() {
            details open {
                summary { "The hardest pairs" }
                div.scroll {
                    table.wide {
                        tr { th { "risk" } th.number { "similarity" } th { "first" } th { "second" } }
                        @for pair in of("false reject").chain(of("false accept")) {
                            tr {
                                td { (pair.risk) }
                                td.number { (format!("{:.3}", pair.similarity)) }
                                td.name { code { (crate::visible::line(&pair.first)) } }
                                td.name { code { (crate::visible::line(&pair.second)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}
