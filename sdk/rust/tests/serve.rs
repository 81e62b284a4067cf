// SPDX-License-Identifier: Apache-2.0
//! Requests and answers of guests that are served.

use wasinn::serve::{Answer, Request};
use wasinn::{ErrorKind, Tensor};

fn message() -> Vec<u8> {
    let mut answer = Answer::new();
    answer.tensor("x", &Tensor::new(&[1, 2], &[1.5f32, -2.0]).unwrap());
    answer.strings("words", &[2, 1], &["", "zwölf"]).unwrap();
    answer.tensor("none", &Tensor::new::<i64>(&[0, 3], &[]).unwrap());
    answer.into_bytes()
}

#[test]
fn an_answer_reads_as_a_request() {
    let message = message();
    assert_eq!((&message[..8], message.len() % 8), (&b"wnt1\x03\0\0\0"[..], 0));
    let request = Request::parse(&message).unwrap();
    let names: Vec<_> = request.inputs().iter().map(|each| (each.name, each.datatype)).collect();
    assert_eq!(names, [("x", "FP32"), ("words", "BYTES"), ("none", "INT64")]);
    assert_eq!(request.input("x").unwrap().values::<f32>().unwrap(), [1.5, -2.0]);
    assert_eq!(request.input("x").unwrap().tensor().unwrap().dims(), [1, 2]);
    assert_eq!(request.input("words").unwrap().strings().unwrap(), [&b""[..], "zwölf".as_bytes()]);
    assert!(request.find("none").unwrap().values::<i64>().unwrap().is_empty());
}

#[test]
fn what_is_wrong_with_a_request_is_the_caller_s_fault() {
    let message = message();
    let request = Request::parse(&message).unwrap();
    for (error, words) in [
        (request.input("y").unwrap_err(), "the request has no input 'y'; it has 'x', 'words', 'none'"),
        (request.input("x").unwrap().values::<i32>().unwrap_err(), "the input 'x' is FP32, and must be INT32"),
        (request.input("x").unwrap().strings().unwrap_err(), "the input 'x' is FP32, and must be BYTES"),
        (request.input("words").unwrap().tensor().unwrap_err(), "the input 'words' is BYTES, and must be of numbers"),
        (Request::parse(b"hello, world").unwrap_err(), "the request is no message"),
        (Tensor::new(&[2], &[0u8]).unwrap_err().of_request(), "[2]"),
    ] {
        assert_eq!(error.kind(), ErrorKind::Request);
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_ne!(Answer::new().strings("x", &[2], &["one"]).unwrap_err().kind(), ErrorKind::Request);
}

#[test]
fn a_damaged_message_is_an_error_or_a_request() {
    let good = message();
    for cut in 0..good.len() {
        assert_eq!(Request::parse(&good[..cut]).unwrap_err().kind(), ErrorKind::Request);
    }
    for at in 0..good.len() {
        for byte in [0, 1, 8, 127, 128, 255] {
            let mut damaged = good.clone();
            damaged[at] = byte;
            if let Ok(request) = Request::parse(&damaged) {
                for each in request.inputs() {
                    let _ = (each.tensor(), each.strings());
                }
            }
        }
    }
}
