use serde_json::json;

use super::*;
use crate::pipeline::SearchedSetting;

/// A finished search whose metric is decided by its learning rate.
pub(super) fn search() -> SearchReport {
    let setting = |path: &str, name: &str, logarithmic, choice| SearchedSetting {
        path: path.to_owned(),
        name: name.to_owned(),
        logarithmic,
        choice,
    };
    let sample = |index: usize| {
        let (lr, kind) = (libm::pow(10.0, -1.0 - index as f64 / 3.0), ["adamw", "sgd"][index % 2]);
        let first = 0.9 - 0.1 * index as f64;
        SampleReport {
            sample: index + 1,
            label: format!("sample={}", index + 1),
            values: vec![json!(kind), json!(lr)],
            metrics: if index < 2 { vec![first, [0.95, 0.85][index]] } else { vec![first] },
            end: if index == 0 { SampleEnd::Best } else { SampleEnd::Stopped },
            rung: if index < 2 { 2 } else { 1 },
            error: None,
            run: Some(format!("t/{index:08x}")),
        }
    };
    let rung = |epochs, samples, goes_on| RungReport {
        epochs: Some(epochs),
        samples,
        finished: samples,
        failed: 0,
        goes_on,
    };
    SearchReport {
        name: "t".to_owned(),
        state: SearchState::Complete,
        stage: "head".to_owned(),
        metric: "validation/accuracy".to_owned(),
        lower_is_better: false,
        eta: 3,
        settings: vec![
            setting("stage.head.optimizer.kind", "kind", false, true),
            setting("stage.head.optimizer.lr", "lr", true, false),
        ],
        rungs: vec![rung(2, 6, 2), rung(6, 2, 1)],
        samples: (0..6).map(sample).collect(),
    }
}

#[test]
fn the_table_has_a_row_for_each_sample() {
    let table = search_csv(&search());
    let mut lines = table.lines();
    assert_eq!(
        lines.next(),
        Some(
            "rank,sample,kind,lr,rung,end,validation/accuracy after 2 epochs,validation/accuracy after 6 epochs,run"
        )
    );
    assert_eq!(lines.next(), Some("1,1,adamw,0.1,2,best,0.9,0.95,t/00000000"));
    assert_eq!(lines.count(), 5);
}

#[test]
fn the_page_shows_every_sample_and_the_figure_a_dot_for_each_setting_of_it() {
    let search = search();
    let page = search_html(&search);
    assert!(page.contains("Best settings") && page.contains("below the best 2 of rung 1"), "{page}");
    let figure = search_svg(&search).unwrap().document();
    assert_eq!(figure.matches("<circle").count(), 2 * 6 + 2, "dots and the legend");
    assert_eq!(search_svg(&SearchReport { samples: Vec::new(), ..search }), None);
}

#[test]
fn a_report_is_read_back_as_it_was_written() {
    let text = serde_json::to_string(&search()).unwrap();
    assert_eq!(serde_json::from_str::<SearchReport>(&text).unwrap(), search());
}
