//! Serves a model that Python has saved, over HTTP:
//!
//! ```sh
//! cargo run --release --features files --example serve -- speakers.safetensors 127.0.0.1:8000
//! curl localhost:8000/predict -d '[[[0.1, 0.2], [0.3, 0.4]], [[0.5, 0.6]]]'
//! ```
//!
//! The body of a request has sequences of steps of features; the answer has a row of outputs for each sequence, or of a
//! model that does not pool, for each step. `GET /` describes the model. It has no encryption and no users: put
//! it behind a proxy that has.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use rgru::{Model, Options, Real};
use serde_json::{Value, json};

/// The largest request in bytes, with its headers.
const LARGEST: u64 = 16 << 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: serve MODEL [ADDRESS]")?;
    let listener = TcpListener::bind(arguments.next().as_deref().unwrap_or("127.0.0.1:8000"))?;
    match Model::<f32>::load(&path) {
        Ok(model) => serve(&listener, &model),
        Err(_) => serve(&listener, &Model::<f64>::load(&path)?),
    }
    Ok(())
}

/// Answers requests, each in a thread of its own, which shares the model.
pub fn serve<T: Real>(listener: &TcpListener, model: &Model<T>) {
    std::thread::scope(|scope| {
        for connection in listener.incoming().flatten() {
            scope.spawn(move || answer(connection, model)); // an error means that the client has gone
        }
    });
}

fn answer<T: Real>(mut connection: TcpStream, model: &Model<T>) -> io::Result<()> {
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(connection.try_clone()?.take(LARGEST));
    let (mut request, mut length) = (String::new(), 0);
    reader.read_line(&mut request)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().unwrap_or(u64::MAX);
            }
            Some(_) => {}
            None => break,
        }
    }
    let (status, body) = match request.split(' ').take(2).collect::<Vec<_>>()[..] {
        ["GET", "/"] => ("200 OK", description(model)),
        ["POST", "/predict"] if length > LARGEST => ("413 Content Too Large", json!({"error": "expected less"})),
        ["POST", "/predict"] => {
            let mut body = Vec::new();
            reader.take(length).read_to_end(&mut body)?;
            match predict(model, &body) {
                Ok(outputs) => ("200 OK", json!({"outputs": outputs, "classes": model.classes()})),
                Err(error) => ("400 Bad Request", json!({"error": error.to_string()})),
            }
        }
        _ => ("404 Not Found", json!({"error": "expected GET / or POST /predict"})),
    };
    let body = body.to_string();
    let length = body.len();
    write!(connection, "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n")?;
    write!(connection, "Connection: close\r\n\r\n{body}")
}

fn description<T: Real>(model: &Model<T>) -> Value {
    json!({
        "input_size": model.input_size(),
        "output_size": model.output_size(),
        "feature_names": model.feature_names(),
        "classes": model.classes(),
    })
}

/// Returns the outputs for sequences as JSON.
fn predict<T: Real>(model: &Model<T>, body: &[u8]) -> Result<Value, Box<dyn std::error::Error>> {
    let sequences: Vec<Vec<Vec<f64>>> = serde_json::from_slice(body)?;
    let (mut x, mut offsets) = (Vec::new(), vec![0]);
    for step in sequences.iter().flatten() {
        if step.len() != model.input_size() {
            return Err(format!("expected {} features, got {}", model.input_size(), step.len()).into());
        }
        x.extend_from_slice(step);
    }
    for sequence in &sequences {
        offsets.push(offsets[offsets.len() - 1] + sequence.len() as i64);
    }
    // Requests run in parallel, so each gets one thread.
    let outputs = model.predict(&x, &offsets, Options { threads: Some(1), stop: None })?;
    let rows: Vec<&[f64]> = outputs.chunks(model.output_size()).collect();
    if !model.every() {
        return Ok(json!(rows));
    }
    Ok(offsets.windows(2).map(|pair| json!(rows[pair[0] as usize..pair[1] as usize])).collect())
}
