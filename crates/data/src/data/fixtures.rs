//! What Pillow and torchvision made of the images in `tests/fixtures/data`.

use std::path::PathBuf;

use image::RgbImage;
use safetensors::SafeTensors;

pub fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/data").join(name)
}

pub fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).expect("the fixture is committed")
}

pub struct Fixtures(Vec<u8>);

impl Fixtures {
    pub fn open(name: &str) -> Self {
        Self(bytes(name))
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.0).expect("the fixture is a safetensors file")
    }

    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.tensors().names().into_iter().map(str::to_owned).collect();
        names.sort();
        names
    }

    pub fn image(&self, name: &str) -> RgbImage {
        let tensors = self.tensors();
        let tensor = tensors.tensor(name).expect("the fixture has this tensor");
        let [height, width, 3] = tensor.shape() else { panic!("{name} is no image") };
        RgbImage::from_raw(*width as u32, *height as u32, tensor.data().to_vec()).expect("sizes agree")
    }

    pub fn floats(&self, name: &str) -> Vec<f32> {
        let tensors = self.tensors();
        bytemuck::pod_collect_to_vec(tensors.tensor(name).expect("the fixture has this tensor").data())
    }
}

/// The oddly written, broken and hostile files of a kind, by name without its ending: those of the fuzz tests.
pub fn corpus(kind: &str) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus").join(kind);
    let files = std::fs::read_dir(folder).expect("the corpus is committed");
    let mut files: Vec<(String, Vec<u8>)> = files
        .map(|file| {
            let path = file.expect("a file").path();
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (name, std::fs::read(path).expect("a readable file"))
        })
        .collect();
    files.sort();
    files
}
