//! Damaged and hostile files: an error that names the file, and no memory for sizes that a file only claims.

use std::fs;
use std::path::{Path, PathBuf};

use hashbrown::HashMap; // that of safetensors without the standard library
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rgru::{Gru, Model, Options};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

fn golden(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/saved").join(name)).unwrap()
}

/// A file of the folder for temporary files, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("rgru-{}-{name}.safetensors", std::process::id())))
    }

    /// Returns the error of a model of these bytes, which names the file; or the outputs of a model.
    fn load(&self, bytes: &[u8]) -> Result<Vec<f64>, String> {
        fs::write(&self.0, bytes).unwrap();
        match Model::<f32>::load(&self.0) {
            Ok(model) => {
                let x = vec![1.0f32; 3 * model.input_size()]; // also ids
                Ok(model.predict(&x, &[0, 3], Options::default()).unwrap())
            }
            Err(error) => {
                let error = error.to_string();
                assert!(error.starts_with(self.0.to_str().unwrap()), "{error}");
                Err(error)
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Returns a file with the tensors of a golden one and another configuration, without a digest.
fn reconfigured(name: &str, change: impl FnOnce(String) -> String) -> Vec<u8> {
    let bytes = golden(name);
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let mut texts = header.metadata().clone().unwrap();
    texts.remove("digest");
    let config = change(texts["config"].clone());
    texts.insert("config".into(), config);
    file(SafeTensors::deserialize(&bytes).unwrap().tensors(), texts)
}

fn file(tensors: Vec<(String, TensorView)>, texts: HashMap<String, String>) -> Vec<u8> {
    safetensors::serialize(tensors, Some(texts)).unwrap()
}

#[test]
fn a_truncated_file_is_refused() {
    let (scratch, bytes) = (Scratch::new("truncated"), golden("classifier.safetensors"));
    for end in (0..bytes.len()).step_by(5) {
        scratch.load(&bytes[..end]).unwrap_err();
    }
    scratch.load(&[&bytes[..], &[0]].concat()).unwrap_err();
    scratch.load(&bytes).unwrap();
}

#[test]
fn a_flipped_bit_is_refused() {
    let (scratch, bytes) = (Scratch::new("flipped"), golden("classifier.safetensors"));
    let whole = scratch.load(&bytes).unwrap();
    let mut refused = 0;
    for bit in (0..8 * bytes.len()).step_by(23) {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        match scratch.load(&damaged) {
            Err(_) => refused += 1,
            // The word "digest" itself: then the file passes for one of the first, which have none.
            Ok(outputs) => assert_eq!(outputs, whole, "bit {bit}"),
        }
    }
    assert!(refused > 8 * bytes.len() / 23 - 10, "{refused}");
}

#[test]
fn random_bytes_in_the_header_do_no_harm() {
    let scratch = Scratch::new("random");
    let mut random = ChaCha8Rng::seed_from_u64(0);
    for name in ["classifier.safetensors", "model_last.safetensors", "gru_ids.safetensors"] {
        let bytes = reconfigured(name, |config| config); // without a digest, which would find everything
        let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let mut refused = 0;
        for _ in 0..400 {
            let mut damaged = bytes.clone();
            for _ in 0..=random.next_u32() % 3 {
                let letters = b"0123456789\"[]{}:,.- eE\\x\0\xff";
                let at = 8 + random.next_u32() as usize % header;
                damaged[at] = letters[random.next_u32() as usize % letters.len()];
            }
            refused += usize::from(scratch.load(&damaged).is_err());
        }
        assert!(refused > 100, "{name}: {refused}");
    }
}

#[test]
fn sizes_that_a_file_claims_are_compared_with_its_tensors() {
    let scratch = Scratch::new("claims");
    let cases = [
        ("\"hidden_size\": 8", "\"hidden_size\": 2000000000"),
        ("\"input_size\": 2", "\"input_size\": 4294967295"),
        ("\"input_size\": 2", "\"input_size\": 0"),
        ("\"num_layers\": 2", "\"num_layers\": 1000"),
        ("\"num_layers\": 2", "\"num_layers\": 4000000000"),
        ("\"output_size\": 2", "\"output_size\": 4000000000"),
        ("\"output_size\": 2", "\"output_size\": 0"),
        (
            "\"dtype\": \"float32\"}",
            "\"dtype\": \"float32\", \"vocabulary\": 16777216, \"embedding_size\": 4000000000}",
        ),
        ("\"dtype\": \"float32\"}", "\"dtype\": \"float32\", \"clip\": 1e300}"),
        ("\"dtype\": \"float32\"}", "\"dtype\": \"float32\", \"unknown\": 1}"),
        ("[\"high\", \"low\"]", "[\"high\"]"),
    ];
    for (old, new) in cases {
        let bytes = reconfigured("classifier.safetensors", |config| {
            // The settings of the GRU, not the parameters of the estimator before them.
            let at = config.find("\"gru\": {").unwrap();
            let (before, after) = config.split_at(at);
            assert!(after.contains(old), "{old}");
            format!("{before}{}", after.replacen(old, new, 1))
        });
        scratch.load(&bytes).expect_err(new);
    }
    let unchanged = reconfigured("classifier.safetensors", |config| config);
    scratch.load(&unchanged).unwrap(); // the first files have no digest
}

#[test]
fn a_model_with_layers_that_do_not_fit_is_refused() {
    let scratch = Scratch::new("layers");
    let cases = [
        ("\"size\": 3", "\"size\": 4000000000"),
        ("\"size\": 3", "\"size\": 0"),
        ("\"epsilon\": 1e-05", "\"epsilon\": -1e-05"),
        ("\"input_size\": 3, \"output_size\": 5", "\"input_size\": 3000000000, \"output_size\": 3000000000"),
        ("\"kind\": \"last\"", "\"kind\": \"median\""),
        ("\"kind\": \"last\"", "\"kind\": \"every\""),
        ("\"silu\"", "\"swish\""),
        (
            "{\"layer\": \"Pool\", \"kind\": \"last\"}",
            "{\"layer\": \"Pool\", \"kind\": \"mean\"}, {\"layer\": \"Pool\", \"kind\": \"max\"}",
        ),
        ("{\"layer\": \"Dropout\", \"rate\": 0.2}", "{\"layer\": \"Dropout\", \"rate\": 0.2, \"more\": 1}"),
        ("\"layers\": [", "\"layers\": [[[[["),
    ];
    for (old, new) in cases {
        let bytes = reconfigured("model_last.safetensors", |config| {
            assert!(config.contains(old), "{old}");
            config.replacen(old, new, 1)
        });
        scratch.load(&bytes).expect_err(new);
    }
    scratch.load(&reconfigured("model_last.safetensors", |_| "[".repeat(1_000_000))).unwrap_err();
    scratch.load(&reconfigured("model_last.safetensors", |_| "{\"layers\": []}".into())).unwrap_err();
}

#[test]
fn other_files_are_refused_by_what_they_are() {
    let scratch = Scratch::new("other");
    let zeros = [0; 4];
    let tensors = || vec![("t".to_owned(), TensorView::new(Dtype::F32, vec![1], &zeros).unwrap())];
    let metadata = |pairs: &[(&str, &str)]| pairs.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
    let message = |pairs| scratch.load(&file(tensors(), metadata(pairs))).unwrap_err();
    assert!(message(&[]).ends_with("expected format 'rgru' in the metadata, got ''"));
    assert!(message(&[("format", "rgru"), ("version", "2")]).ends_with("got '2'"));
    let rgru = [("format", "rgru"), ("version", "1"), ("kind", "Sessions"), ("config", "{}")];
    assert!(message(&rgru).contains("expected GRU, Model, GRUClassifier or GRURegressor, got Sessions"));
    // A header of 2^63 bytes, and a file that is a folder.
    scratch.load(&[&[0, 0, 0, 0, 0, 0, 0, 0x80][..], &[b' '; 100]].concat()).unwrap_err();
    let folder = std::env::temp_dir();
    let error = Gru::<f32>::load(&folder).err().unwrap().to_string();
    assert!(error.contains("no regular file"), "{error}");
    let error = Gru::<f32>::load(folder.join("rgru-no-such-file")).err().unwrap().to_string();
    assert!(error.contains("rgru-no-such-file: expected a file that can be read, got "), "{error}");
    fs::write(&scratch.0, golden("classifier.safetensors")).unwrap();
    let error = Gru::<f32>::load(&scratch.0).err().unwrap().to_string();
    assert!(error.contains("kind: expected GRU, got GRUClassifier"), "{error}");
}
