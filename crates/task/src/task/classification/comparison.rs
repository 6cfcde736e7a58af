//! What a comparison shows of an evaluation: the scores of each class, the confusion matrix, and the images whose class
//! is wrong.

use crate::error::Result;
use crate::metrics::{ClassMetrics, ClassificationScores};
use crate::report::{
    ComparedEvaluation, ComparedImage, ComparedImages, ComparedMatrix, ComparedNumber, ImageAnswer,
    Prediction, ShareOf, StageFiles, percent, read_predictions,
};

pub fn evaluation(files: &StageFiles) -> Result<ComparedEvaluation> {
    let scores: ClassificationScores = files.json("metrics.json")?;
    let class = |class: &ClassMetrics| {
        [("precision", class.precision), ("recall", class.recall), ("f1", class.f1)]
            .map(|(name, value)| ComparedNumber::share(format!("{name}/{}", class.class), value))
    };
    let matrix = ComparedMatrix {
        names: scores.per_class.iter().map(|class| class.class.clone()).collect(),
        counts: scores.confusion_matrix.clone(),
        row_title: "true class",
        column_title: "predicted class",
        shares: ShareOf::Row,
    };
    Ok(ComparedEvaluation {
        numbers: scores.per_class.iter().flat_map(class).collect(),
        curves: Vec::new(),
        matrix: Some(matrix),
    })
}

pub fn images(files: &StageFiles, _: Option<f64>) -> Result<ComparedImages> {
    let predictions = files.table("predictions.csv", read_predictions)?;
    let images = predictions.iter().map(|prediction| (prediction.file.clone(), image(prediction)));
    Ok(ComparedImages { images: images.collect(), classes: Vec::new() })
}

fn image(prediction: &Prediction) -> ComparedImage {
    let probability = f64::from(prediction.probabilities.iter().copied().fold(0.0, f32::max));
    let mark = if prediction.predicted == prediction.label { "" } else { "wrong: " };
    let answer = |caption: String| ImageAnswer { caption: Some(caption), boxes: Vec::new() };
    ComparedImage {
        truth: answer(prediction.label.clone()),
        predicted: answer(format!("{mark}{} {}", prediction.predicted, percent(probability))),
        mistakes: u64::from(prediction.predicted != prediction.label),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_class_is_marked() {
        let text = "file,label,predicted,probability a,probability b\nx,a,b,0.4,0.6\ny,a,a,1,0\n";
        let images: Vec<ComparedImage> = read_predictions(text).unwrap().iter().map(image).collect();
        let captions: Vec<&str> =
            images.iter().filter_map(|image| image.predicted.caption.as_deref()).collect();
        assert_eq!(captions, ["wrong: b 60.0\u{a0}%", "a 100.0\u{a0}%"]);
        assert_eq!((images[0].mistakes, images[1].mistakes), (1, 0));
    }
}
