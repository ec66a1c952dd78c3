//! Models that Python has saved, against the outputs that it has computed: `tests/goldens/make_saved.py`.

use std::fs;
use std::path::{Path, PathBuf};

use rgru::__internals::cell::Real;
use rgru::{Gru, Inputs, Model, Options, Outputs, Sequences};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

/// The steps of some sequences, in the type that they have in Python, and the outputs for them.
struct Expected {
    single: bool,
    x: Vec<f64>,
    offsets: Vec<i64>,
    y: Vec<f64>,
}

impl Expected {
    fn read(path: &Path) -> Self {
        let bytes = fs::read(path.with_extension("expected.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let offsets = tensors.tensor("offsets").unwrap();
        let offsets = offsets.data().as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect();
        let x = tensors.tensor("x").unwrap();
        let single = x.dtype() == Dtype::F32;
        Self { single, x: numbers(&x), offsets, y: numbers(&tensors.tensor("y").unwrap()) }
    }

    /// Predicts the outputs of some sequences, from numbers in the type of Python's.
    fn predict<T: Real>(&self, model: &Model<T>, x: &[f64], offsets: &[i64]) -> Vec<f64> {
        if self.single {
            let x: Vec<f32> = x.iter().map(|&number| number as f32).collect();
            return model.predict(&x, offsets, Options::default()).unwrap();
        }
        model.predict(x, offsets, Options::default()).unwrap()
    }

    /// Returns the inputs of each sequence.
    fn sequences(&self, features: usize) -> Vec<&[f64]> {
        self.offsets.windows(2).map(|pair| &self.x[pair[0] as usize * features..pair[1] as usize * features]).collect()
    }
}

fn numbers(tensor: &TensorView) -> Vec<f64> {
    match tensor.dtype() {
        Dtype::F32 => tensor.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes).into()).collect(),
        Dtype::F64 => tensor.data().as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect(),
        other => panic!("{other:?}"),
    }
}

fn bits(numbers: &[f64]) -> Vec<u64> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

/// Returns the files of models, those of a kind alone if their names begin with `prefix`.
fn models(prefix: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/saved");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let name = |file: &PathBuf| file.file_name().unwrap().to_str().unwrap().to_owned();
    let mut found: Vec<_> =
        files.filter(|file| name(file).starts_with(prefix) && !name(file).contains("expected")).collect();
    assert!(found.len() >= 5, "{prefix}");
    found.sort();
    found
}

/// Runs a check on each file, in the precision that it is in; the other one must be refused by name.
fn each(prefix: &str, single: fn(&Path, Model<f32>), double: fn(&Path, Model<f64>)) {
    for path in models(prefix) {
        match (Model::<f32>::load(&path), Model::<f64>::load(&path)) {
            (Ok(model), Err(error)) => {
                assert!(error.to_string().ends_with("expected float64, got float32"), "{error}");
                single(&path, model);
            }
            (Err(error), Ok(model)) => {
                assert!(error.to_string().ends_with("expected float32, got float64"), "{error}");
                double(&path, model);
            }
            (one, other) => panic!("{}: {:?}, {:?}", path.display(), one.err(), other.err()),
        }
    }
}

#[test]
fn predictions_have_the_bits_of_python() {
    fn check<T: Real>(path: &Path, model: Model<T>) {
        let expected = Expected::read(path);
        let y = expected.predict(&model, &expected.x, &expected.offsets);
        assert_eq!(bits(&y), bits(&expected.y), "{}", path.display());
    }
    each("", check::<f32>, check::<f64>);
}

#[test]
fn a_gru_has_the_bits_of_python() {
    fn check<T: Real>(path: &Path, _: Model<T>) {
        let (gru, expected) = (Gru::<T>::load(path).unwrap(), Expected::read(path));
        let dims = *gru.dims();
        let x: Vec<T> = expected.x.iter().map(|&number| T::from_f64(number)).collect();
        let sequences = Sequences::ragged(&expected.offsets, x.len() / dims.input_size).unwrap();
        let mut y = vec![T::ZERO; sequences.rows() * dims.output_size()];
        let mut h_n = vec![T::ZERO; dims.num_cells() * sequences.count() * dims.hidden_size];
        let inputs = Inputs { x: &x, sequences: &sequences, h0: None };
        gru.run(inputs, Outputs { y: &mut y, h_n: &mut h_n }, Options::default()).unwrap();
        let y: Vec<f64> = y.into_iter().map(T::to_f64).collect();
        assert_eq!(bits(&y), bits(&expected.y), "{}", path.display());
    }
    each("gru", check::<f32>, check::<f64>);
}

#[test]
fn a_stream_predicts_from_the_steps_so_far() {
    fn check<T: Real>(path: &Path, model: Model<T>) {
        let (features, outputs, expected) = (model.input_size(), model.output_size(), Expected::read(path));
        let backward = ["hard", "elu", "mean", "max", "product"]; // directions and poolings that need later steps
        let Ok(mut stream) = model.stream(2) else {
            assert!(backward.iter().any(|word| path.to_str().unwrap().contains(word)), "{}", path.display());
            return;
        };
        let mut y = vec![0.0; 2 * outputs];
        for x in expected.sequences(features).into_iter().filter(|x| !x.is_empty()).take(3) {
            for end in 1..=x.len() / features {
                let (so_far, x_t) = (&x[..end * features], &x[(end - 1) * features..end * features]);
                if expected.single {
                    let x_t: Vec<f32> = x_t.iter().map(|&number| number as f32).collect();
                    stream.step(&[&x_t[..], &x_t].concat(), &mut y).unwrap();
                } else {
                    stream.step(&[x_t, x_t].concat(), &mut y).unwrap();
                }
                let rows = expected.predict(&model, so_far, &[0, end as i64]);
                let last = &rows[rows.len() - outputs..];
                assert_eq!(bits(&y), bits(&[last, last].concat()), "{}, step {end}", path.display());
            }
            stream.restart(0).unwrap();
            stream.restart(1).unwrap();
        }
    }
    each("", check::<f32>, check::<f64>);
}

#[test]
fn no_sequences_have_no_outputs() {
    fn check<T: Real>(path: &Path, model: Model<T>) {
        let nothing: [T; 0] = [];
        assert_eq!(model.predict(&nothing, &[0], Options::default()), Ok(Vec::new()), "{}", path.display());
    }
    each("", check::<f32>, check::<f64>);
}

#[test]
fn estimators_refuse_numbers_that_they_cannot_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/saved");
    let model = Model::<f32>::load(folder.join("classifier.safetensors")).unwrap();
    let message = |x: &[f64], offsets: &[i64]| model.predict(x, offsets, Options::default()).unwrap_err().to_string();
    assert_eq!(
        message(&[0.0, 0.0, 1.0, 0.0, 1.0, f64::NAN], &[0, 1, 3]),
        "x: expected finite numbers, got NaN in sequence 1, step 1, feature 1 (counted from 0)"
    );
    assert!(
        message(&[0.0, 1e300], &[0, 1]).starts_with("x: expected numbers that are finite in float32, standardised")
    );
    assert_eq!(message(&[0.0; 3], &[0, 1]), "x: expected rows of 2 features, got 3 numbers");
    assert!(message(&[0.0; 4], &[0, 3]).starts_with("offsets: "));
    let ids = Model::<f32>::load(folder.join("classifier_ids.safetensors")).unwrap();
    for id in [-1.0, 0.5, 6.0, 1.0 - 1e-12] {
        let error = ids.predict(&[id, 0.0], &[0, 1], Options::default()).unwrap_err().to_string();
        assert!(error.starts_with("x: expected ids"), "{error}");
    }
}
