use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use crate::digest::Digest;
use crate::store::InputIndex;

#[derive(Clone, Debug)]
enum Step {
    Write {
        file: usize,
        byte: u8,
    },
    Touch {
        file: usize,
    },
    /// Other bytes, but the same size and modification time.
    Disguise {
        file: usize,
        byte: u8,
    },
    Replace {
        file: usize,
        with: usize,
    },
    Reopen,
    Spoil {
        at: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let file = 0..3usize;
    prop_oneof![
        (file.clone(), any::<u8>()).prop_map(|(file, byte)| Step::Write { file, byte }),
        file.clone().prop_map(|file| Step::Touch { file }),
        (file.clone(), any::<u8>()).prop_map(|(file, byte)| Step::Disguise { file, byte }),
        (file.clone(), file).prop_map(|(file, with)| Step::Replace { file, with }),
        Just(Step::Reopen),
        (0..1000usize).prop_map(|at| Step::Spoil { at }),
    ]
}

/// A folder of three files and an index over them.
struct World {
    root: tempfile::TempDir,
    index: Option<InputIndex>,
}

impl World {
    fn path(&self, file: usize) -> PathBuf {
        self.root.path().join(format!("file {file}"))
    }

    fn reopen(&mut self, spoil: impl FnOnce(&Path)) -> &InputIndex {
        let file = self.root.path().join("inputs.index");
        drop(self.index.take());
        spoil(&file);
        // Small enough that entries are trusted within the test, but longer than one tick of the file system's
        // clock.
        self.index.insert(InputIndex::open(&file).with_margin(Duration::from_millis(15)))
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Write { file, byte } => fs::write(self.path(file), [byte; 8]).unwrap(),
            Step::Touch { file } => {
                fs::File::open(self.path(file)).unwrap().set_modified(SystemTime::now()).unwrap();
            }
            Step::Disguise { file, byte } => {
                let time = fs::metadata(self.path(file)).unwrap().modified().unwrap();
                fs::write(self.path(file), [byte; 8]).unwrap();
                fs::File::open(self.path(file)).unwrap().set_modified(time).unwrap();
            }
            Step::Replace { file, with } => {
                let copy = self.root.path().join("copy");
                fs::copy(self.path(with), &copy).unwrap();
                fs::rename(copy, self.path(file)).unwrap();
            }
            Step::Reopen => {
                self.reopen(|_| {});
            }
            Step::Spoil { at } => {
                self.reopen(|file| {
                    if let Ok(mut bytes) = fs::read(file) {
                        let at = at % bytes.len();
                        bytes[at] ^= 0x10;
                        fs::write(file, bytes).unwrap();
                    }
                });
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn digests_are_always_those_of_the_bytes(steps in proptest::collection::vec(step(), 1..8)) {
        let mut world = World { root: tempfile::tempdir().unwrap(), index: None };
        let paths: Vec<PathBuf> = (0..3).map(|file| world.path(file)).collect();
        paths.iter().for_each(|path| fs::write(path, [7; 8]).unwrap());
        world.reopen(|_| {});
        for step in steps {
            world.take(step);
            let index = world.index.as_ref().unwrap();
            let expected: Vec<Digest> = paths.iter().map(|path| Digest::of(&fs::read(path).unwrap())).collect();
            prop_assert_eq!(&index.digests(&paths).unwrap(), &expected);
            std::thread::sleep(Duration::from_millis(30));
            prop_assert_eq!(&index.digests(&paths).unwrap(), &expected);
        }
    }
}

#[test]
fn a_steady_file_is_not_read_again_and_a_young_one_is() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("photo");
    fs::write(&path, "bytes").unwrap();
    let remembered = |index: &InputIndex| index.remembered().into_values().collect::<Vec<Digest>>();
    let index = InputIndex::open(root.path().join("inputs.index"));
    index.digests(std::slice::from_ref(&path)).unwrap();
    assert_eq!(remembered(&index), [], "younger than two seconds");
    std::thread::sleep(Duration::from_millis(30));
    let index = index.with_margin(Duration::from_millis(15));
    index.digests(std::slice::from_ref(&path)).unwrap();
    assert_eq!(remembered(&index), [Digest::of(b"bytes")]);
    // A wrong entry shows whether the index or the file was read.
    index.remember(&path, Digest::of(b"wrong"));
    assert_eq!(index.digests(std::slice::from_ref(&path)).unwrap(), [Digest::of(b"wrong")]);
    assert_eq!(index.rehash(std::slice::from_ref(&path)).unwrap(), [Digest::of(b"bytes")]);
    drop(index);
    assert_eq!(remembered(&InputIndex::open(root.path().join("inputs.index"))), [Digest::of(b"bytes")]);
}

#[test]
fn all_missing_files_are_named() {
    let root = tempfile::tempdir().unwrap();
    let index = InputIndex::open(root.path().join("inputs.index"));
    fs::write(root.path().join("there"), "").unwrap();
    let error = index.digests(&["there", "gone", "lost"].map(|name| root.path().join(name))).unwrap_err();
    assert_eq!(error.kind, crate::error::ErrorKind::Usage);
    assert!(error.message.contains("gone") && error.message.ends_with("no such file or folder"), "{error}");
    assert!(error.others.len() == 1 && error.others[0].message.contains("lost"), "{error:?}");
    assert!(index.digests(&[root.path().to_owned()]).unwrap_err().message.ends_with("it is a folder"));
}

#[test]
#[ignore = "a measurement: makes 100,000 files"]
fn a_hundred_thousand_files_take_well_under_two_seconds() {
    let root = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> =
        (0..100_000).map(|i| root.path().join(format!("{:03}/{i:06}.jpg", i % 200))).collect();
    for (i, path) in paths.iter().enumerate() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, i.to_string()).unwrap();
    }
    std::thread::sleep(Duration::from_secs(3));
    let file = root.path().join("inputs.index");
    let mut digests = BTreeMap::new();
    for pass in ["cold", "warm"] {
        let start = std::time::Instant::now();
        let index = InputIndex::open(&file);
        digests.insert(pass, index.digests(&paths).unwrap());
        drop(index);
        println!("{pass}: {:?}", start.elapsed());
        if pass == "warm" {
            assert!(start.elapsed() < Duration::from_secs(2));
        }
    }
    assert_eq!(digests["cold"], digests["warm"]);
}
