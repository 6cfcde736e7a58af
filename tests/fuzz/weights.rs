//! Weight files: PyTorch's, in a zip archive and in one stream, and safetensors.

use std::fmt::Write;
use std::time::{Duration, Instant};

use defrost::weights::WeightsFile;

use super::support::{Bounds, bounded, fuzz};

/// Reads a file as a stage does: its content, then some of the values.
fn open(input: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights");
    std::fs::write(&path, input).unwrap();
    match WeightsFile::open(&path) {
        Ok(source) => {
            assert!(!source.entries().is_empty(), "a file without a tensor is refused");
            for (name, entry) in source.entries().iter().take(20) {
                let Ok(tensor) = source.tensor(name) else { continue };
                assert_eq!(tensor.dims(), entry.shape);
            }
        }
        Err(error) => {
            assert!(error.message.starts_with("cannot read `"), "{error}");
            assert!(error.message.len() < 16384, "a message of {} bytes", error.message.len());
        }
    }
}

const BOUNDS: Bounds = Bounds { memory: 4 << 20, memory_per_byte: 200, time: Duration::from_secs(5) };

#[test]
fn pickle() {
    fuzz("pickle", 4000, BOUNDS, |input| {
        open(input);
    });
}

#[test]
fn safetensors() {
    fuzz("safetensors", 4000, BOUNDS, |input| {
        open(input);
    });
}

/// A file of PyTorch before 1.6 that ends in a pickle.
fn legacy(pickle: &[u8]) -> Vec<u8> {
    let head = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.";
    [head, pickle].concat()
}

const MEGABYTE: usize = 1 << 20;

/// Too large to be committed.
#[test]
fn pickles_of_millions_of_objects() {
    bounded(320 * MEGABYTE, Duration::from_secs(60), || {
        let many = 3_000_000;
        for (name, pickle) in [
            ("tuples in each other", [&b"K\x01"[..], &b"\x85".repeat(many), b"."].concat()),
            ("lists in each other", [b"]".repeat(many), b"a".repeat(many - 1), b".".to_vec()].concat()),
            ("objects in each other", [&b"cm\nf\n"[..], &b")R".repeat(many), b"."].concat()),
            ("objects of one class", [&b"cm\nf\nq\x00"[..], &b"h\x00)R".repeat(many), b"."].concat()),
            ("dicts", [&b"("[..], &b"}".repeat(many), b"t."].concat()),
            ("marks", [&b"("[..], &b"(".repeat(many), b"."].concat()),
            ("things kept", [&b"]"[..], &b"\x94".repeat(many), b"."].concat()),
        ] {
            let begin = Instant::now();
            open(&legacy(&pickle));
            assert!(begin.elapsed() < Duration::from_secs(5), "{name}: {:?}", begin.elapsed());
        }
    });
}

/// A network has at most some thousand, so the rest of the header is not read.
#[test]
fn safetensors_headers_of_half_a_million_tensors() {
    bounded(200 * MEGABYTE, Duration::from_secs(60), || {
        let mut header = "{".to_owned();
        for n in 0..500_000 {
            let separator = if n == 0 { "" } else { "," };
            write!(header, r#"{separator}"t{n}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#)
                .unwrap();
        }
        header.push('}');
        let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
        let begin = Instant::now();
        open(&file);
        assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    });
}
