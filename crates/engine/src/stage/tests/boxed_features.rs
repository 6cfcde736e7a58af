//! Features of images with boxes: boxes move as the pixels did, although no image is read again.

use super::regression::{with_boxes, work};
use super::*;

fn files(scene: &Scene, room: Option<u64>, change: Change) -> Files {
    let stage = scene.stage(change);
    let work = |context: &StageContext| work(&stage, context);
    scene.execute(&scene.folders(room), &NullObserver, &Interrupt::default(), &work).unwrap()
}

/// Changes that move boxes, of which two views are kept.
fn moved(train: &mut Staged) {
    with_boxes(train);
    train.settings.augment =
        toml::from_str("rotation = 20\nhorizontal_flip = 0.5\nrandom_resized_crop = { scale = [0.3, 1.0] }")
            .unwrap();
    train.settings.epochs = 3;
    train.prefixes[0].views = Some(2);
}

#[test]
fn boxes_are_the_same_whether_or_not_features_are_kept() {
    let scene = Scene::new();
    // A picture of another size.
    let picture = image::RgbImage::from_fn(50, 70, |x, y| image::Rgb([x as u8, 200, y as u8]));
    picture.save(scene.path("images/learn/dog/wide.png")).unwrap();
    let half = |train: &mut Staged| {
        moved(train);
        train.prefixes[0].kind = FeatureType::Bf16;
    };
    let changes: [(&str, Change); 3] = [("whole", &with_boxes), ("views", &moved), ("views in bf16", &half)];
    let mut all: Vec<Files> = Vec::new();
    for (what, change) in changes {
        let computed = files(&scene, None, change);
        assert_same(&computed, &files(&scene, ROOM, change), what);
        assert_same(&computed, &files(&scene, ROOM, change), what);
        assert!(all.iter().all(|other| other["history.csv"] != computed["history.csv"]), "{what}");
        all.push(computed);
    }
    // Without boxes, the same images have other rows.
    assert_same(&scene.files(None, |_| ()), &scene.files(ROOM, |_| ()), "classes");
}

#[test]
fn boxes_need_no_image_that_has_features() {
    let scene = Scene::new();
    for broken in ["judge/dog/3.png", "learn/cat/4.png"] {
        std::fs::remove_file(scene.path("images").join(broken)).unwrap();
    }
    let first = scene.stage(&with_boxes);
    let again = scene.stage(&with_boxes);
    let run = |stage: &Staged| {
        let counting = Counting::default();
        let work = |context: &StageContext| work(stage, context);
        let files = scene.execute(&scene.folders(ROOM), &counting, &Interrupt::default(), &work).unwrap();
        (files, counting.counts())
    };
    let (files, counts) = run(&first);
    assert_eq!(counts, (9, 0));
    std::fs::remove_dir_all(scene.path("images")).unwrap();
    let (same, counts) = run(&again);
    assert_eq!(counts, (9, 9));
    assert_same(&files, &same, "without images");
}
