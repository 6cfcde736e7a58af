//! Epochs of a training as `results.csv`, the table that Ultralytics writes, for tools that read it.

use std::fmt::Write;

use crate::report::text::shortest;

/// As published. The scores are those of boxes, `(B)`.
pub const RESULTS_HEADER: &str = "epoch,time,train/box_loss,train/cls_loss,train/dfl_loss,metrics/precision(B),\
                                  metrics/recall(B),metrics/mAP50(B),metrics/mAP50-95(B),val/box_loss,val/cls_loss,\
                                  val/dfl_loss,lr/pg0,lr/pg1,lr/pg2";

/// An epoch of a training. `NaN` is a value that was not measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoxEpoch {
    /// From 1.
    pub epoch: u32,
    /// The losses of boxes, classes and distributions, with their gains.
    pub train: [f64; 3],
    /// Precision, recall, AP50 and AP50-95.
    pub scores: [f64; 4],
    pub validation: [f64; 3],
    /// The optimizer's learning rates of weights, normalisations and biases at the last step, before any group's scale.
    pub lr: [f64; 3],
}

/// A row for each epoch. `time` is always 0: the file does not depend on the clock. Losses and scores have five
/// decimals, as published; learning rates have all their digits. A value that was not measured is an empty field.
pub fn results_csv(epochs: &[BoxEpoch]) -> String {
    let mut text = format!("{RESULTS_HEADER}\n");
    for epoch in epochs {
        let measured = epoch.train.iter().chain(&epoch.scores).chain(&epoch.validation);
        let fields: Vec<String> =
            measured.map(|&value| rounded(value)).chain(epoch.lr.iter().map(|&lr| shortest(lr))).collect();
        writeln!(text, "{},0,{}", epoch.epoch, fields.join(",")).expect("a String takes any text");
    }
    text
}

fn rounded(value: f64) -> String {
    match value {
        _ if value.is_nan() => String::new(),
        _ if value.is_infinite() => value.to_string(),
        _ => {
            let text = format!("{value:.5}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_the_published_columns() {
        let epoch = BoxEpoch {
            epoch: 1,
            train: [1.5, 2.25, 10.0],
            scores: [0.123456, 1.0, 0.0, 2.0 / 3.0],
            validation: [f64::NAN, f64::INFINITY, 1.0],
            lr: [0.1, 3.3e-5, 0.0],
        };
        let text = results_csv(&[epoch]);
        let [header, row] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
        assert_eq!(header.split(',').count(), 15);
        assert_eq!(row, "1,0,1.5,2.25,10,0.12346,1,0,0.66667,,inf,1,0.1,3.3e-5,0");
    }
}
