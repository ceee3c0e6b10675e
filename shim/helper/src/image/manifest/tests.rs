use serde_json::{Value, json};

use super::*;
use crate::image::summary::{LONGEST_SUMMARY, Summary};

const INDEX: &str = TYPES[0];
const MANIFEST: &str = TYPES[2];

fn digest(digit: char) -> String {
    format!("sha256:{}", digit.to_string().repeat(64))
}

fn layer(media_type: &str, digit: char) -> Value {
    json!({"mediaType": media_type, "digest": digest(digit), "size": 7})
}

fn manifest(layers: &[Value]) -> Result<Layers, String> {
    parse_manifest(&json!({"schemaVersion": 2, "mediaType": MANIFEST, "layers": layers}))
}

/// Returns the driver's view of a document: it is parsed, summarised in lines, and the lines are read.
fn summary(media_type: &str, document: &[u8]) -> Result<Summary, String> {
    let written = Summary::write(&Summary::new(media_type, false, document));
    assert!(written.len() < LONGEST_SUMMARY, "{} bytes", written.len());
    Summary::parse(written.as_bytes(), document)
}

fn read_manifest(document: &[u8]) -> Result<Layers, String> {
    match summary(MANIFEST, document)? {
        Summary::Manifest { layers: Layers::Malformed(reason), .. } => Err(reason),
        Summary::Manifest { layers, .. } => Ok(layers),
        Summary::Index { .. } => panic!("an index"),
    }
}

fn parse_manifest(document: &Value) -> Result<Layers, String> {
    read_manifest(document.to_string().as_bytes())
}

fn candidates(document: &Value) -> Result<Vec<Candidate>, String> {
    match summary(INDEX, document.to_string().as_bytes())? {
        Summary::Index { candidates, .. } => Ok(candidates),
        Summary::Manifest { .. } => panic!("a manifest"),
    }
}

fn part(os: &str, architecture: &str, digit: char) -> Value {
    let mut part = layer(MANIFEST, digit);
    part["platform"] = json!({"os": os, "architecture": architecture});
    part
}

fn order(parts: &[Value]) -> Vec<String> {
    let found = candidates(&json!({"manifests": parts})).unwrap();
    found.into_iter().map(|candidate| candidate.platform).collect()
}

/// A finding of `tests/fuzz`: the reader of this document was taken for a hostile process.
#[test]
fn an_index_of_parts_with_long_types_is_read() {
    let mut part = part("wasi", "wasm", 'a');
    part["mediaType"] = "x".repeat(9000).into();
    let found = candidates(&json!({"manifests": vec![part; 20]})).unwrap();
    assert!(found.iter().all(|candidate| candidate.descriptor.media_type.ends_with("...")), "{found:?}");
}

#[test]
fn every_wasm_media_type_is_found_among_other_layers() {
    for media_type in WASM_LAYERS {
        let tar = layer("application/vnd.oci.image.layer.v1.tar+gzip", '1');
        let Ok(Layers::Wasm(found)) = manifest(&[tar.clone(), layer(media_type, 'a'), tar]) else {
            panic!("{media_type} is not found")
        };
        assert_eq!((found.media_type.as_str(), found.digest.to_string(), found.size), (media_type, digest('a'), 7));
    }
    // A similar type is not accepted.
    for other in ["application/wasm+gzip", "Application/Wasm", "application/wasm; x", "application/wasm\n", ""] {
        let Ok(Layers::Other(types)) = manifest(&[layer(other, 'a')]) else { panic!("{other:?} is accepted") };
        assert_eq!(types, format!("layers of type {other:?}"));
    }
    assert_eq!(manifest(&[]), Ok(Layers::Other("no layers".to_owned())));
}

#[test]
fn several_wasm_layers_are_refused_by_name() {
    let found = manifest(&[layer(WASM_LAYERS[0], 'a'), layer(WASM_LAYERS[2], 'b')]);
    let Ok(Layers::Several(named)) = found else { panic!("{found:?}") };
    for word in ["2 Wasm layers", &digest('a'), &digest('b'), WASM_LAYERS[0], WASM_LAYERS[2]] {
        assert!(named.contains(word), "{word} is missing in {named}");
    }
}

#[test]
fn wasm_platforms_are_preferred_to_this_machines() {
    let host = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let mut bare = layer(MANIFEST, '9');
    let parts = [
        bare.take(),
        part("linux", "s390x", '1'),
        part("linux", host, '2'),
        part("windows", host, '3'),
        part("unknown", "unknown", '4'),
        part("wasip2", "wasm", '5'),
        part("wasi", "wasm32", '6'),
        part("any", "wasm", '7'),
    ];
    let parts = [&[layer(MANIFEST, '9')][..], &parts[1..]].concat();
    let host = format!("linux/{host}");
    assert_eq!(order(&parts), ["wasip2/wasm", "wasi/wasm32", "any/wasm", &host, "no platform"]);
    assert!(order(&[part("linux", "s390x", '1'), part("unknown", "unknown", '4')]).is_empty());
}

#[test]
fn an_index_entry_that_is_not_chosen_may_be_invalid() {
    let odd = json!({"mediaType": "x", "digest": "sha512:ff", "size": -1, "platform": {"os": "plan9", "architecture": "z80"}});
    assert_eq!(order(&[odd, part("wasi", "wasm", '1')]), ["wasi/wasm"]);
    let odd = json!({"mediaType": "x", "digest": "../../etc/shadow", "size": -1, "urls": ["file:///"]});
    assert!(matches!(manifest(&[odd, layer(WASM_LAYERS[0], 'a')]), Ok(Layers::Wasm(_))));
}

#[test]
fn only_a_sha256_digest_is_accepted() {
    let bad = [
        String::new(),
        "sha256:".to_owned(),
        "a".repeat(64),
        format!("sha256:{}", "A".repeat(64)),
        format!("sha256:{}", "a".repeat(63)),
        format!("sha256:{}", "a".repeat(65)),
        format!("sha256:../{}", "a".repeat(61)),
        format!("sha256:{}\n", "a".repeat(63)),
        format!("sha256:{}", "é".repeat(32)),
        format!("sha512:{}", "a".repeat(128)),
        format!("sha256:sha256:{}", "a".repeat(57)),
    ];
    for text in bad {
        let layer = json!({"mediaType": WASM_LAYERS[0], "digest": text, "size": 1});
        let refused = manifest(&[layer]).unwrap_err();
        let word = if text.starts_with("sha512:") { "with sha256 digests" } else { "64 hexadecimal digits" };
        assert!(refused.contains(word) && refused.len() < 400, "{refused}");
        let mut part = part("wasi", "wasm", 'a');
        part["digest"] = text.into();
        assert!(candidates(&json!({"manifests": [part]})).is_err());
    }
}

#[test]
fn a_size_is_a_number_of_bytes() {
    let sized = |size: &str| {
        let text =
            format!(r#"{{"layers":[{{"mediaType":"{}","digest":"{}","size":{size}}}]}}"#, WASM_LAYERS[0], digest('a'));
        read_manifest(text.as_bytes())
    };
    assert!(matches!(sized("9223372036854775807"), Ok(Layers::Wasm(Descriptor { size: 0x7fff_ffff_ffff_ffff, .. }))));
    for size in ["-1", "9223372036854775808", "1e3", "1.5", "\"7\"", "null", "[]", "1e999"] {
        assert!(sized(size).is_err(), "{size}");
    }
}

#[test]
fn a_document_must_match_its_descriptors_digest_and_size() {
    for (media_type, document) in [
        (MANIFEST, json!({"mediaType": INDEX, "layers": []})),
        (INDEX, json!({"mediaType": MANIFEST, "manifests": []})),
        (MANIFEST, json!({"layers": [], "manifests": []})),
        (INDEX, json!({"layers": [], "manifests": []})),
        (MANIFEST, json!({"layers": {}})),
        (MANIFEST, json!({"layers": [7]})),
        (INDEX, json!({"manifests": [{"platform": "wasi/wasm"}]})),
        (MANIFEST, json!({"mediaType": 7})),
        (MANIFEST, json!("text")),
        ("text/html", json!({"layers": []})),
        ("application/vnd.docker.distribution.manifest.v1+json", json!({"layers": []})),
    ] {
        let refused = Document::parse(media_type, document.to_string().as_bytes());
        assert!(refused.is_err(), "{media_type} {document}: {refused:?}");
    }
    for broken in ["", "{", "{\"layers\":[]}x", "\u{0}", "{\"layers\":[],\"layers\":[]}"] {
        assert!(Document::parse(MANIFEST, broken.as_bytes()).is_err(), "{broken:?}");
    }
    for (media_type, key) in [(TYPES[3], "layers"), (TYPES[1], "manifests")] {
        Document::parse(media_type, json!({key: []}).to_string().as_bytes()).unwrap();
    }
}

#[test]
fn deep_and_large_documents_are_refused() {
    let deep = "[".repeat(1 << 20);
    for key in ["layers", "x"] {
        let text = format!("{{\"{key}\":{deep}");
        assert!(Document::parse(MANIFEST, text.as_bytes()).is_err(), "{key}");
    }
    // Very many layers, each with a type of its own.
    let layers: Vec<_> =
        (0..20_000).map(|n| json!({"mediaType": format!("type/{n}\u{1b}[2J{}", "x".repeat(100))})).collect();
    let Ok(Layers::Other(named)) = manifest(&layers) else { panic!("a Wasm layer is found") };
    assert!(named.len() < 2000 && !named.contains('\u{1b}') && named.ends_with("..."), "{named}");
    let same: Vec<_> = (0..20_000).map(|_| layer(WASM_LAYERS[0], 'a')).collect();
    let Ok(Layers::Several(named)) = manifest(&same) else { panic!("several layers are not found") };
    assert!(named.starts_with("20000 Wasm layers") && named.len() < 300, "{named}");
}
