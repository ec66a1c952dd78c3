//! The example `serve`: requests to it over a real connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use rgru::{Model, Options};
use serde_json::{Value, json};

#[allow(dead_code)] // its main
#[path = "../../examples/serve.rs"]
mod example;

/// Starts the example on a free port, in a thread that ends with the tests.
fn start(name: &str) -> (SocketAddr, Model<f32>) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/saved");
    let model = Model::<f32>::load(format!("{folder}/{name}.safetensors")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, served) = (listener.local_addr().unwrap(), model.clone());
    thread::spawn(move || example::serve(&listener, &served));
    (address, model)
}

/// Sends a request and returns the status and the body of the answer.
fn request(address: SocketAddr, method_and_path: &str, body: &str) -> (u16, Value) {
    let mut connection = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(connection, "{method_and_path} HTTP/1.1\r\nHost: test\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
}

#[test]
fn it_answers_with_the_outputs_of_the_model() {
    let (address, model) = start("classifier");
    let outputs = model.predict(&[0.1, 0.2, 0.3, 0.4, 0.5, 0.6], &[0, 2, 3, 3], Options::default()).unwrap();
    let expected = json!(outputs.chunks(2).collect::<Vec<_>>());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let (status, body) = request(address, "POST /predict", "[[[0.1, 0.2], [0.3, 0.4]], [[0.5, 0.6]], []]");
                assert_eq!((status, &body["outputs"], &body["classes"]), (200, &expected, &json!(["high", "low"])));
            });
        }
    });
    let (status, body) = request(address, "GET /", "");
    assert_eq!((status, &body["input_size"], &body["output_size"]), (200, &json!(2), &json!(2)));
}

#[test]
fn it_answers_for_every_step_of_a_model_that_does_not_pool() {
    let (address, model) = start("regressor_every");
    let outputs = model.predict(&[50.0, 1.0, 51.0, 1.0, 52.0, 1.0], &[0, 2, 3], Options::default()).unwrap();
    let (status, body) = request(address, "POST /predict", "[[[50, 1], [51, 1]], [[52, 1]]]");
    let [a, b, c] = outputs[..] else { panic!("{outputs:?}") };
    assert_eq!((status, &body["outputs"]), (200, &json!([[[a], [b]], [[c]]])));
}

#[test]
fn it_refuses_what_it_cannot_read() {
    let (address, _) = start("classifier");
    for body in ["", "{}", "[[[0.1]]]", "[[[0.1, 0.2, 0.3]]]", "[[[1e300, 0.2]]]", "[[[\"a\", 0.2]]]"] {
        let (status, answer) = request(address, "POST /predict", body);
        assert_eq!(status, 400, "{body}: {answer}");
        assert!(answer["error"].is_string());
    }
    assert_eq!(request(address, "GET /model", "").0, 404);
    let mut connection = TcpStream::connect(address).unwrap();
    write!(connection, "POST /predict HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}
