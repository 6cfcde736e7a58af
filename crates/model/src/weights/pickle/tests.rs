//! Pickles of every protocol as trees, and pickles that exceed limits.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::*;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}

/// The pickle of an archive written by `torch.save`.
fn archived(name: &str) -> Vec<u8> {
    let file = std::fs::File::open(path(name)).unwrap();
    let mut archive = zip::ZipArchive::new(file).unwrap();
    let names: Vec<String> = archive.file_names().map(|name| name.unwrap().into_owned()).collect();
    let name = names.iter().find(|name| name.ends_with("/data.pkl")).unwrap();
    let mut bytes = Vec::new();
    std::io::copy(&mut archive.by_name(name).unwrap(), &mut bytes).unwrap();
    bytes
}

/// A value on one line. Shared values are printed again, up to a depth of `levels`.
fn shown(pickle: &Pickle, id: ValueId, levels: usize) -> String {
    if levels == 0 {
        return "…".to_owned();
    }
    let list =
        |ids: &[ValueId]| ids.iter().map(|&id| shown(pickle, id, levels - 1)).collect::<Vec<_>>().join(", ");
    let pairs = |entries: &[(ValueId, ValueId)]| {
        let pair = |&(key, value): &(ValueId, ValueId)| {
            format!("{}: {}", shown(pickle, key, levels - 1), shown(pickle, value, levels - 1))
        };
        entries.iter().map(pair).collect::<Vec<_>>().join(", ")
    };
    match pickle.value(id) {
        PickleValue::None => "None".to_owned(),
        PickleValue::Bool(truth) => format!("{truth}"),
        PickleValue::Int(number) => format!("{number}"),
        PickleValue::LongInt => "long".to_owned(),
        PickleValue::Float(number) => format!("{number:?}"),
        PickleValue::Text(text) => format!("{text:?}"),
        PickleValue::Bytes(bytes) => format!("bytes {bytes:?}"),
        PickleValue::Tuple(items) => format!("({})", list(items)),
        PickleValue::List(items) => format!("[{}]", list(items)),
        PickleValue::Set(items) => format!("set({})", list(items)),
        PickleValue::Dict(entries) => format!("{{{}}}", pairs(entries)),
        PickleValue::Class { module, name } => {
            format!("{}.{}", pickle.text(*module).unwrap(), pickle.text(*name).unwrap())
        }
        PickleValue::Persistent(name) => format!("storage{}", shown(pickle, *name, levels - 1)),
        PickleValue::Object(object) => {
            let mut text =
                format!("{}{}", shown(pickle, object.class, levels), shown(pickle, object.arguments, levels));
            if let Some(keywords) = object.keywords {
                write!(text, " with {}", shown(pickle, keywords, levels - 1)).unwrap();
            }
            if let Some(entries) = pickle.entries(id).filter(|entries| !entries.is_empty()) {
                write!(text, " {{{}}}", pairs(&entries)).unwrap();
            }
            if !object.items.is_empty() {
                write!(text, " [{}]", list(&object.items)).unwrap();
            }
            if let Some(state) = object.state {
                write!(text, " = {}", shown(pickle, state, levels - 1)).unwrap();
            }
            text
        }
    }
}

fn tree(bytes: &[u8]) -> String {
    let (pickle, end) = read(bytes, 0).unwrap_or_else(|fault| panic!("{fault:?}"));
    assert_eq!(end, bytes.len());
    shown(&pickle, pickle.root(), 12)
}

fn fault(bytes: &[u8]) -> PickleError {
    read(bytes, 0).expect_err("a refused pickle")
}

#[test]
fn literals_of_every_protocol_are_read() {
    for (bytes, expected) in [
        (&b"I01\n."[..], "true"),
        (b"I00\n.", "false"),
        (b"\x80\x02\x88.", "true"),
        (b"\x89.", "false"),
        (b"I-12\n.", "-12"),
        (b"L12L\n.", "12"),
        (b"L123456789012345678901234567890L\n.", "long"),
        (b"J\xfe\xff\xff\xff.", "-2"),
        (b"K\xfe.", "254"),
        (b"M\xfe\xff.", "65534"),
        (b"\x8a\x00.", "0"),
        (b"\x8a\x02\xfe\xff.", "-2"),
        (b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f.", "9223372036854775807"),
        (b"\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x00.", "long"),
        (b"\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\xff.", "-1"),
        (b"\x8b\x01\x00\x00\x00\x07.", "7"),
        (b"F1e3\n.", "1000.0"),
        (b"G\x3f\xf8\x00\x00\x00\x00\x00\x00.", "1.5"),
        (b"S'a\\'\\x41\\101\\n\\q'\n.", r#""a'AA\n\\q""#),
        (b"S'\\0101\\7'\n.", r#""\u{8}1\u{7}""#),
        (b"S\"it's\"\n.", "\"it's\""),
        (b"U\x02\xffa.", "bytes [255, 97]"),
        (b"T\x02\x00\x00\x00ab.", "\"ab\""),
        (b"V\xe9\\u20ac\\U0001f600\n.", "\"é€😀\""),
        (b"X\x02\x00\x00\x00\xc3\xa9.", "\"é\""),
        (b"\x8c\x01a.", "\"a\""),
        (b"\x8d\x01\x00\x00\x00\x00\x00\x00\x00a.", "\"a\""),
        (b"C\x01a.", "bytes [97]"),
        (b"B\x01\x00\x00\x00a.", "bytes [97]"),
        (b"\x8e\x01\x00\x00\x00\x00\x00\x00\x00a.", "bytes [97]"),
        (b"\x80\x05\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x96\x01\x00\x00\x00\x00\x00\x00\x00a.", "bytes [97]"),
    ] {
        assert_eq!(tree(bytes), expected, "{}", bytes.escape_ascii());
    }
}

#[test]
fn containers_and_objects_are_read() {
    for (bytes, expected) in [
        (&b"(K\x01K\x02t."[..], "(1, 2)"),
        (b"K\x01\x85K\x02K\x03\x86\x86.", "((1), (2, 3))"),
        (b"K\x01K\x02K\x03\x87.", "(1, 2, 3)"),
        (b"(K\x01l(K\x02K\x03e.", "[1, 2, 3]"),
        (b"](K\x01K\x02eK\x03a.", "[1, 2, 3]"),
        (b"(K\x01K\x02dK\x03K\x04s(K\x05K\x06u.", "{1: 2, 3: 4, 5: 6}"),
        (b"\x8f(K\x01K\x02\x90.", "set(1, 2)"),
        (b"(K\x01\x91.", "set(1)"),
        (b"K\x0120.", "1"),
        (b"K\x01(K\x021.", "1"),
        (b"K\x01(0.", "1"),
        (b"cm\nf\n(K\x01tR.", "m.f(1)"),
        (b"\x8c\x01m\x8c\x01f\x93)\x81}\x8c\x01aK\x01sb.", "m.f() = {\"a\": 1}"),
        (b"cm\nf\n)}\x8c\x01aK\x01s\x92.", "m.f() with {\"a\": 1}"),
        (b"(K\x01im\nf\n.", "m.f(1)"),
        (b"(cm\nf\nK\x01o.", "m.f(1)"),
        (b"cm\nf\n)R(K\x01K\x02u(K\x03e.", "m.f() {1: 2} [3]"),
        (b"Pkey\n.", "storage\"key\""),
        (b"K\x07Q.", "storage7"),
        (b"K\x07p0\nq\x01r\x02\x00\x00\x00(g0\nh\x01j\x02\x00\x00\x00t\x86.", "(7, (7, 7, 7))"),
        (b"K\x05\x94K\x060h\x00\x86.", "(5, 5)"),
    ] {
        assert_eq!(tree(bytes), expected, "{}", bytes.escape_ascii());
    }
}

/// The tensors below a module by name, as in PyTorch's `named_parameters` and `named_buffers`.
fn tensors(pickle: &Pickle) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![(String::new(), pickle.root())];
    while let Some((prefix, module)) = open.pop() {
        for kind in ["_parameters", "_buffers", "_modules"] {
            let Some(kept) = pickle.attribute(module, kind) else { continue };
            for &(key, value) in pickle.entries(kept).unwrap().iter() {
                let name = format!("{prefix}{}", pickle.text(key).unwrap());
                match (kind, pickle.class(value)) {
                    (_, None) => found.push(format!("{name}: none")),
                    ("_modules", Some((_, class))) => {
                        found.push(format!("{name}: {class}"));
                        open.push((format!("{name}."), value));
                    }
                    (_, Some((_, class))) => found.push(format!("{name}: {class}")),
                }
            }
        }
    }
    found
}

#[test]
fn pickled_modules_are_read_as_trees() {
    // One written by PyTorch, and one that contains modules.
    let linear = archived("tests/fixtures/weights/module.pth");
    let (pickle, _) = read(&linear, 0).unwrap();
    assert_eq!(pickle.class(pickle.root()), Some(("torch.nn.modules.linear", "Linear")));
    assert_eq!(pickle.attribute(pickle.root(), "in_features").and_then(|id| pickle.integer(id)), Some(2));
    assert_eq!(tensors(&pickle), ["weight: _rebuild_parameter", "bias: _rebuild_parameter"]);

    let nested = archived("tests/fuzz/corpus/pickle/modules.pth");
    let (pickle, _) = read(&nested, 0).unwrap();
    assert_eq!(
        tensors(&pickle),
        [
            "0: Conv2d",
            "1: BatchNorm2d",
            "again: BatchNorm2d",
            "again.weight: _rebuild_parameter",
            "again.running_mean: _rebuild_tensor_v2",
            "1.weight: _rebuild_parameter",
            "1.running_mean: _rebuild_tensor_v2",
            "0.weight: _rebuild_parameter",
            "0.bias: none",
        ]
    );
    // The same module under two names is one object.
    let modules = pickle.attribute(pickle.root(), "_modules").unwrap();
    assert_eq!(pickle.get(modules, "1"), pickle.get(modules, "again"));
    assert_ne!(pickle.get(modules, "1"), pickle.get(modules, "0"));
    let stride = pickle.attribute(pickle.get(modules, "0").unwrap(), "stride").unwrap();
    assert_eq!(shown(&pickle, stride, 3), "(1, 1)");
}

#[test]
fn dicts_are_known_in_every_form() {
    let entries = |bytes: &[u8]| {
        let (pickle, _) = read(bytes, 0).unwrap();
        let entries = pickle.entries(pickle.root())?;
        assert!(pickle.is_dict(pickle.root()));
        Some(
            entries
                .iter()
                .map(|(key, value)| format!("{}={}", shown(&pickle, *key, 2), shown(&pickle, *value, 2)))
                .collect::<Vec<_>>()
                .join(" "),
        )
    };
    assert_eq!(entries(b"}(K\x01K\x02K\x01K\x03u.").unwrap(), "1=2 1=3");
    assert_eq!(entries(b"ccollections\nOrderedDict\n)R.").unwrap(), "");
    assert_eq!(entries(b"ccollections\nOrderedDict\n](](K\x01K\x02ee\x85RK\x03K\x04s.").unwrap(), "1=2 3=4");
    assert_eq!(entries(b"c__main__\nConfig\n)\x81K\x01K\x02s.").unwrap(), "1=2");
    assert_eq!(
        entries(b"ccopy_reg\n_reconstructor\n(cm\nConfig\nc__builtin__\ndict\n}K\x01K\x02stR.").unwrap(),
        "1=2"
    );
    assert_eq!(entries(b"cm\nThing\n)R."), None);
    assert_eq!(entries(b"]."), None);
    let (pickle, _) = read(b"}(\x8c\x01aK\x02\x8c\x01aK\x03u.", 0).unwrap();
    assert_eq!(pickle.get(pickle.root(), "a").and_then(|id| pickle.integer(id)), Some(3));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (bytes, at, what) in [
        (&b""[..], 0, "the file ends in the middle of a pickle"),
        (b"K\x01K", 2, "the file ends in the middle of a pickle"),
        (b"I12", 0, "the file ends in the middle of a line"),
        (b"X\xff\xff\xff\xffabc.", 0, "it declares 4294967295 more bytes, and 4 are left"),
        (b"T\xff\xff\xff\xffabc.", 0, "it declares a negative length"),
        (b"\x95\xff\x00\x00\x00\x00\x00\x00\x00.", 0, "it declares 255 more bytes, and 1 are left"),
        (b"X\x01\x00\x00\x00\xff.", 0, "a text is not UTF-8"),
        (b"Ix\n.", 0, "what should be a number is none"),
        (b"S'a\n.", 0, "a string has no sound quotes"),
        (b"V\\u12\n.", 0, "a text has a bad escape"),
        (b".", 0, "an instruction wants more than there is on the stack"),
        (b"K\x01(.", 3, "an instruction wants more than there is on the stack"),
        (b"K\x01t.", 2, "an instruction wants more than there is on the stack"),
        (b"K\x01(\x86.", 3, "an instruction wants more than there is on the stack"),
        (b"}(K\x01u.", 4, "a key has no value"),
        (b"K\x01K\x02a.", 4, "items are added to what is no list"),
        (b"]K\x01K\x02s.", 5, "entries are added to what is no dict"),
        (b"]}b.", 2, "a state is given to what is no object"),
        (b"cm\nf\n)R}b}b.", 10, "an object is given its state twice"),
        (b"K\x01K\x02\x93.", 4, "the name of a class is not text"),
        (b"h\x05.", 0, "nothing was kept as number 5"),
        (b"\xee.", 0, "0xee is not an instruction of a pickle"),
        (b"(o.", 1, "an object has no class"),
    ] {
        let expected = PickleError { kind: PickleErrorKind::Damaged, at, what: what.to_owned() };
        assert_eq!(fault(bytes), expected, "{}", bytes.escape_ascii());
    }
    for bytes in [&b"\x80\x06."[..], b"\x82\x01.", b"\x97."] {
        assert_eq!(fault(bytes).kind, PickleErrorKind::Unsupported, "{}", bytes.escape_ascii());
    }
}

#[test]
fn nesting_is_no_matter_and_numbers_of_objects_are_bounded() {
    let deep = [&b"K\x01"[..], &b"\x85".repeat(900_000), b"."].concat();
    let (pickle, _) = read(&deep, 0).unwrap();
    assert_eq!(pickle.ids().count(), 900_005);
    for bytes in [
        [&b"K\x01"[..], &b"\x85".repeat(3_000_000), b"."].concat(),
        [&b"]"[..], &b"]".repeat(1_000_001), b"."].concat(),
        [&b"]"[..], &b"\x94".repeat(1_000_001), b"."].concat(),
        [&b"N"[..], &b"N0".repeat(9_000_000), b"."].concat(),
    ] {
        let fault = fault(&bytes);
        assert_eq!(fault.kind, PickleErrorKind::TooLarge, "{fault:?}");
    }
}

#[test]
fn what_is_named_twice_is_there_once() {
    // Each list holds the previous one twice: 2⁶⁰ items if they were copied.
    let doubled: Vec<u8> = (0..60).flat_map(|n| [b']', b'(', b'h', n, b'h', n, b'e', b'q', n + 1]).collect();
    let bytes = [&b"]q\x00"[..], &doubled, b"."].concat();
    let (pickle, _) = read(&bytes, 0).unwrap();
    let lists = pickle.ids().filter(|&id| matches!(pickle.value(id), PickleValue::List(_)));
    assert_eq!(lists.count(), 61);
    let (first, second) = match pickle.items(pickle.root()).unwrap() {
        &[first, second] => (first, second),
        other => panic!("{} items", other.len()),
    };
    assert_eq!(first, second);
    // A dict that contains itself.
    let (pickle, _) = read(b"}q\x00\x8c\x01ah\x00s.", 0).unwrap();
    assert_eq!(pickle.get(pickle.root(), "a"), Some(pickle.root()));
}
