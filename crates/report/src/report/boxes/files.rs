//! Boxes in the formats of other tools. All functions expect finite numbers.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{ImageBox, ImageBoxes, class_name};
use crate::csv_cells;
use crate::error::{Error, Result};
use crate::report::tables::{IN_MEMORY, text, unreadable};

/// A row for each box: file, class, score, and the edges in pixels. Numbers read back as the same floats; a label has
/// no score. An image without boxes has no row.
pub fn boxes_csv(images: &[ImageBoxes], classes: &[String]) -> String {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    writer.write_record(["file", "class", "score", "left", "top", "right", "bottom"]).expect(IN_MEMORY);
    for image in images {
        for shown in &image.boxes {
            let ImageBox { class, score, left, top, right, bottom } = *shown;
            let class = class_name(classes, class);
            let names = (csv_cells::text(&image.file), csv_cells::text(&class));
            writer.serialize((names, score, left, top, right, bottom)).expect(IN_MEMORY);
        }
    }
    text(writer)
}

/// Reads what [`boxes_csv`] wrote: file, class and box of each row. The box's class is its index in `classes`.
///
/// # Errors
/// The table has another format, or names an unknown class.
pub fn read_boxes(text: &str, classes: &[String]) -> Result<Vec<(String, ImageBox)>> {
    #[derive(Deserialize)]
    struct Row {
        file: String,
        class: String,
        score: Option<f32>,
        left: f32,
        top: f32,
        right: f32,
        bottom: f32,
    }
    let read = |row: csv::Result<Row>| {
        let Row { file, class, score, left, top, right, bottom } = row.map_err(unreadable)?;
        let name = csv_cells::name(&class);
        let class = classes.iter().position(|known| known == name);
        let class =
            class.ok_or_else(|| Error::failed(format!("unreadable table: the class `{name}` is unknown")))?;
        Ok((csv_cells::name(&file).to_owned(), ImageBox { class, score, left, top, right, bottom }))
    };
    csv::Reader::from_reader(text.as_bytes()).deserialize().map(read).collect()
}

/// The YOLO text file of an image: `class cx cy w h`, then the score if there is one, with six decimals. Coordinates
/// are fractions of the image's size. Boxes are clipped to the image, because readers refuse others.
pub fn yolo_text(image: &ImageBoxes) -> String {
    let mut text = String::new();
    for shown in &image.boxes {
        let fraction = |value: f32, side: u32| (f64::from(value) / f64::from(side.max(1))).clamp(0.0, 1.0);
        let [left, right] = [shown.left, shown.right].map(|value| fraction(value, image.width));
        let [top, bottom] = [shown.top, shown.bottom].map(|value| fraction(value, image.height));
        let middle = [(left + right) / 2.0, (top + bottom) / 2.0];
        let [wide, high] = [right - left, bottom - top];
        let score = shown.score.map(|score| format!(" {score:.6}")).unwrap_or_default();
        let class = shown.class;
        writeln!(text, "{class} {:.6} {:.6} {wide:.6} {high:.6}{score}", middle[0], middle[1])
            .expect("a String takes any text");
    }
    text
}

/// The results file of COCO's evaluation: a list with one box a line. `images` have the ids of COCO's `images`, and
/// `categories` are the ids of the classes. A box without a score gets 1.
///
/// # Errors
/// A class has no id.
pub fn coco_results(images: &[(u64, &ImageBoxes)], categories: &[u64]) -> Result<String> {
    #[derive(Serialize)]
    struct Entry {
        image_id: u64,
        category_id: u64,
        /// Left, top, width and height in pixels.
        bbox: [f32; 4],
        score: f32,
    }
    let mut lines = Vec::new();
    for &(image_id, image) in images {
        for shown in &image.boxes {
            let &category_id = categories.get(shown.class).ok_or_else(|| {
                Error::bug(format!("class {} of a box of `{}` has no category", shown.class, image.file))
            })?;
            let ImageBox { left, top, right, bottom, .. } = *shown;
            let bbox = [left, top, right - left, bottom - top];
            let entry = Entry { image_id, category_id, bbox, score: shown.score.unwrap_or(1.0) };
            lines.push(serde_json::to_string(&entry).map_err(|error| Error::bug(error.to_string()))?);
        }
    }
    Ok(if lines.is_empty() { "[]\n".to_owned() } else { format!("[\n{}\n]\n", lines.join(",\n")) })
}

/// The boxes of an image for JSON readers; `box` is left, top, right and bottom in pixels.
pub fn boxes_json(image: &ImageBoxes, classes: &[String]) -> Value {
    let shown = |shown: &ImageBox| {
        let mut entry = json!({
            "class": shown.class,
            "label": class_name(classes, shown.class),
            "box": shown.corners().map(plain),
        });
        if let Some(score) = shown.score {
            entry["score"] = plain(score);
        }
        entry
    };
    json!({
        "file": image.file,
        "width": image.width,
        "height": image.height,
        "boxes": image.boxes.iter().map(shown).collect::<Vec<_>>(),
    })
}

/// The number with the digits of its shortest form: 0.9, where widening would give 0.8999999761581421.
fn plain(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> ImageBoxes {
        let shown = |class, score, [left, top, right, bottom]: [f32; 4]| ImageBox {
            class,
            score,
            left,
            top,
            right,
            bottom,
        };
        ImageBoxes {
            file: "harbour, old/1.jpg".to_owned(),
            width: 640,
            height: 480,
            boxes: vec![
                shown(1, Some(0.9), [10.5, 20.1, 330.5, 260.1]),
                shown(0, None, [-6.4, 0.0, 640.0, 480.5]),
            ],
        }
    }

    fn classes() -> Vec<String> {
        ["=ship", "buoy"].map(str::to_owned).into()
    }

    #[test]
    fn the_table_reads_back_what_was_written() {
        let text = boxes_csv(&[image()], &classes());
        insta::assert_snapshot!(text, @r#"
        file,class,score,left,top,right,bottom
        "harbour, old/1.jpg",buoy,0.9,10.5,20.1,330.5,260.1
        "harbour, old/1.jpg",'=ship,,-6.4,0.0,640.0,480.5
        "#);
        let rows = read_boxes(&text, &classes()).unwrap();
        let expected: Vec<_> = image().boxes.iter().map(|shown| (image().file, *shown)).collect();
        assert_eq!(rows, expected);
        assert!(read_boxes(&text, &[]).unwrap_err().to_string().contains("`buoy` is unknown"));
        assert!(read_boxes("file\nx\n", &classes()).is_err());
    }

    #[test]
    fn yolo_rows_are_fractions_within_the_image() {
        insta::assert_snapshot!(yolo_text(&image()), @"
        1 0.266406 0.291875 0.500000 0.500000 0.900000
        0 0.500000 0.500000 1.000000 1.000000
        ");
    }

    #[test]
    fn coco_results_have_ids_and_sides() {
        let image = image();
        insta::assert_snapshot!(coco_results(&[(42, &image)], &[3, 90]).unwrap(), @r#"
        [
        {"image_id":42,"category_id":90,"bbox":[10.5,20.1,320.0,240.0],"score":0.9},
        {"image_id":42,"category_id":3,"bbox":[-6.4,0.0,646.4,480.5],"score":1.0}
        ]
        "#);
        assert_eq!(coco_results(&[], &[]).unwrap(), "[]\n");
        assert!(coco_results(&[(42, &image)], &[3]).is_err());
    }

    #[test]
    fn json_has_names_and_short_numbers() {
        insta::assert_snapshot!(boxes_json(&image(), &classes()), @r#"{"boxes":[{"box":[10.5,20.1,330.5,260.1],"class":1,"label":"buoy","score":0.9},{"box":[-6.4,0.0,640.0,480.5],"class":0,"label":"=ship"}],"file":"harbour, old/1.jpg","height":480,"width":640}"#);
    }
}
