// SPDX-License-Identifier: Apache-2.0
//! What is arithmetic and reading: tensors, halves, JSON, metadata, scores, quantization.

use wasinn::json::Json;
use wasinn::{
    resize, softmax, top_k, Colour, ErrorKind, Fit, Graph, Image, ImageContract, InputContract, Metadata,
    OutputContract, OutputKind, Quantization, Resize, Tensor, Type, F16,
};

#[test]
fn tensors_are_what_they_say() {
    let tensor = Tensor::new(&[2, 2], &[1.0f32, -2.0, 3.5, 0.0]).unwrap();
    assert_eq!((tensor.element(), tensor.dims(), tensor.len()), (Type::F32, &[2, 2][..], 4));
    assert_eq!(tensor.to_vec::<f32>().unwrap(), [1.0, -2.0, 3.5, 0.0]);
    assert!(tensor.to_vec::<u8>().unwrap_err().to_string().contains("f32"));
    assert_eq!(Tensor::new::<i64>(&[], &[5]).unwrap().to_f64(), [5.0]);
    assert_eq!(Tensor::new::<u8>(&[0, 4294967295], &[]).unwrap().len(), 0);
    let wrong = Tensor::new(&[3], &[1i32]).unwrap_err().to_string();
    assert!(wrong.contains("[3]") && wrong.contains("1 value of i32"), "{wrong}");
    let wrong = Tensor::from_bytes(Type::F32, &[1, 4], vec![0; 12]).unwrap_err().to_string();
    assert!(wrong.contains("16 in all") && wrong.contains("12 bytes"), "{wrong}");
    assert!(Tensor::from_bytes(Type::F64, &[4294967295, 4294967295, 4294967295], vec![]).is_err());
    assert_eq!(tensor.clone().reshaped(&[4]).unwrap().dims(), [4]);
    assert!(tensor.reshaped(&[5]).is_err());
}

#[test]
fn batches_come_apart_as_they_were_put_together() {
    let parts: Vec<Tensor> = (0..3u8).map(|at| Tensor::new(&[1, 2], &[at, at + 10]).unwrap()).collect();
    let batch = Tensor::stack(&parts).unwrap();
    assert_eq!(batch.dims(), [3, 2]);
    assert_eq!(batch.unstack().unwrap(), parts);
    assert!(Tensor::stack(&[parts[0].clone(), Tensor::new(&[1, 1], &[1u8]).unwrap()]).is_err());
    assert!(Tensor::stack(&[]).is_err());
}

#[test]
fn sizes_that_no_picture_has_are_errors() {
    let image = Image::from_rgb(2, 1, vec![0; 6]).unwrap();
    for size in [(0, 5), (70000, 70000), (1, u32::MAX)] {
        for fit in [Fit::Letterbox, Fit::Crop, Fit::Stretch] {
            let contract = ImageContract { fit, ..ImageContract::new("NCHW", size) };
            let input = InputContract::picture(0, Type::F32, contract);
            assert!(input.tensor(&image).unwrap_err().to_string().contains("size of the input's picture"));
        }
        assert!(resize(&image, size.1, size.0, Resize::Nearest, true).is_err());
    }
}

#[test]
fn every_half_is_its_float_and_back() {
    for bits in 0..=u16::MAX {
        let value = f32::from(F16::from_bits(bits));
        if value.is_nan() {
            assert!(f32::from(F16::from(value)).is_nan());
        } else {
            assert_eq!(F16::from(value).to_bits(), bits);
        }
    }
    let nearest = [(65520.0, f32::INFINITY), (65519.0, 65504.0), (2049.0, 2048.0), (2051.0, 2052.0)];
    for (value, half) in nearest {
        assert_eq!(f32::from(F16::from(value)), half);
    }
    assert_eq!(F16::from(2.0f32.powi(-25)).to_bits(), 0); // a tie goes to the even one
    assert_eq!(F16::from(2.0f32.powi(-25) * 1.001).to_bits(), 1);
}

#[test]
fn json_is_read() {
    let json = Json::parse(r#" {"a": [1, -2.5e3, null, true, NaN, -Infinity], "b": "\u00e9\ud83d\ude00\n\"", "c": {}} "#);
    let json = json.unwrap();
    let list = json.get("a").unwrap().as_array().unwrap();
    assert_eq!((list[0].as_i64(), list[1].as_f64(), list[3].as_bool()), (Some(1), Some(-2500.0), Some(true)));
    assert!(list[4].as_f64().unwrap().is_nan());
    assert_eq!(json.get("b").unwrap().as_str(), Some("é😀\n\""));
    assert_eq!(json.get("none"), None);
    let deep = "[".repeat(100_000);
    for bad in ["", "{", "[1,]", "{\"a\" 1}", "\"", "\"\\u12\"", "\"\\ud800", "1 2", "nul", "{1: 2}", "\"\\x\"", &deep]
    {
        assert_eq!(Json::parse(bad).unwrap_err().kind(), ErrorKind::Metadata, "{bad}");
    }
    assert_eq!(Json::parse("\"\\ud800\\u0041\"").unwrap().as_str(), Some("\u{fffd}A"));
}

const METADATA: &str = r#"{"name": "m", "platform": "onnxruntime",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3, 8, 6], "aliases": ["pixels"]},
               {"name": "n", "datatype": "INT64", "shape": []}],
    "outputs": [{"name": "y", "datatype": "INT8", "shape": [-1, 4],
                 "quantization": {"scale": [0.5], "zero_point": [-2]}}]}"#;

#[test]
fn inputs_are_told_from_types_and_shapes() {
    let metadata = Metadata::parse(METADATA).unwrap();
    let input = metadata.picture_input().unwrap();
    let image = input.image.clone().unwrap();
    assert_eq!((image.layout.as_str(), image.size, image.colour), ("NCHW", (8, 6), Colour::Rgb));
    assert!(input.takes_batches());
    assert_eq!(metadata.input_index("pixels").unwrap(), 0);
    assert_eq!(metadata.input_index("n").unwrap(), 1);
    let error = metadata.input_index("z").unwrap_err().to_string();
    assert!(error.contains("\"z\"") && error.contains("0 \"x\" f32 [-1, 3, 8, 6]"), "{error}");
    assert!(metadata.output_index(1).is_err());
    let picture = Image::from_rgb(6, 8, vec![255; 144]).unwrap();
    let tensor = input.tensor(&picture).unwrap();
    assert_eq!(tensor.dims(), [1, 3, 8, 6]);
    assert!(tensor.to_vec::<f32>().unwrap().iter().all(|&value| value == 1.0));
    assert!(metadata.input(1).unwrap().tensor(&picture).unwrap_err().to_string().contains("no picture"));
}

#[test]
fn outputs_are_dequantized_and_labelled() {
    let mut output = Metadata::parse(METADATA).unwrap().class_output().unwrap();
    output.labels = vec!["a".into(), "".into(), "c".into()];
    output.label_offset = -1;
    let tensor = Tensor::new(&[1, 4], &[-2i8, 0, -1, 0]).unwrap();
    assert_eq!(output.real_values(&tensor).unwrap(), [0.0, 1.0, 0.5, 1.0]);
    let best = output.top_k(&tensor, 3).unwrap();
    let names: Vec<(usize, String)> = best.iter().map(|class| (class.index, class.name())).collect();
    assert_eq!(names, [(1, "a".into()), (3, "c".into()), (2, "class 2".into())]);
    assert_eq!(best[0].score, 1.0);
    output.kind = Some(OutputKind::Logits);
    let sum: f64 = output.top_k(&tensor, 9).unwrap().iter().map(|class| class.score).sum();
    assert!((sum - 1.0).abs() < 1e-12);
    assert!(output.top_k(&Tensor::new(&[2, 2], &[0i8; 4]).unwrap(), 1).is_err());
}

#[test]
fn a_contract_is_read_and_its_mistakes_are_named() {
    let json = r#"{"name": "image", "type": "u8", "quantization": {"scale": 0.5, "zero_point": 3},
        "image": {"layout": "NHWC", "size": [2, 2], "colour": "BGR", "crop": null, "fill": 7, "fit": "letterbox"}}"#;
    let input = InputContract::from_json(&Json::parse(json).unwrap()).unwrap();
    let image = input.image.unwrap();
    assert_eq!((image.range, image.fill, image.crop), ((0.0, 1.0), [7; 3], None));
    for (from, to, words) in [
        ("BGR", "XYZ", "colour is one of RGB, BGR, GRAY, not \"XYZ\""),
        ("[2, 2]", "[2]", "size is [height, width]"),
        ("\"u8\"", "\"u7\"", "type \"u7\""),
        ("NHWC", "WHC", "layout is one of"),
    ] {
        let text = json.replace(from, to);
        let error = InputContract::from_json(&Json::parse(&text).unwrap()).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("\"image\""), "{error}");
    }
}

#[test]
fn scores_have_an_order() {
    assert_eq!(top_k(&[0.5, f64::NAN, 2.0, 0.5], 9), [2, 0, 3, 1]);
    assert_eq!(top_k(&[1.0, 2.0], 0), [0usize; 0]);
    let even = softmax(&[1000.0, 1000.0, f64::NEG_INFINITY]);
    assert_eq!(even, [0.5, 0.5, 0.0]);
    assert_eq!(softmax(&[f64::INFINITY, 1.0]), [1.0, 0.0]);
    assert!(softmax(&[f64::NAN, 1.0]).iter().all(|each| each.is_nan()));
    let one = OutputContract { kind: Some(OutputKind::Logits), ..OutputContract::new(0) };
    let best = one.top_k(&Tensor::new(&[1], &[0.0f32]).unwrap(), 5).unwrap();
    assert_eq!(best[0].score, 0.5);
}

#[test]
fn quantizing_rounds_away_from_zero_and_saturates() {
    let quantization = Quantization::new(2.0, 1);
    let values = [1.0, -1.0, 3.0, 1e9, -1e9, f32::NAN, 0.9];
    let tensor = quantization.quantize(&values, &[7], Type::I8).unwrap();
    assert_eq!(tensor.to_vec::<i8>().unwrap(), [2, 0, 3, 127, -128, 1, 1]);
    assert!(quantization.quantize(&values, &[7], Type::F32).is_err());
    assert!(quantization.quantize(&values, &[8], Type::I8).is_err());
    let each = Quantization { scale: vec![1.0, 10.0], zero_point: vec![0, 1], axis: Some(1) };
    let tensor = Tensor::new(&[1, 2, 2], &[1u8, 2, 3, 4]).unwrap();
    assert_eq!(each.dequantize(&tensor).unwrap(), [1.0, 2.0, 20.0, 30.0]);
    assert!(each.dequantize(&tensor.reshaped(&[4, 1]).unwrap()).is_err());
}

#[test]
fn masks_are_classes() {
    let mut output = OutputContract::new(0);
    let scores = Tensor::new(&[1, 2, 1, 3], &[0.0f32, 5.0, 1.0, 0.0, 6.0, f32::NAN]).unwrap();
    output.layout = Some("NCHW".into());
    let mask = output.mask(&scores).unwrap();
    assert_eq!((mask.width, mask.height, &mask.classes[..]), (3, 1, &[0, 1, 0][..]));
    assert_eq!(mask.counts(), [(0, 2), (1, 1)]);
    output.layout = Some("HW".into());
    assert_eq!(output.mask(&Tensor::new(&[1, 2], &[3i64, 300]).unwrap()).unwrap().classes, [3, 300]);
    assert!(output.mask(&Tensor::new(&[1, 1], &[-1.0f32]).unwrap()).is_err());
    assert!(output.mask(&scores).is_err());
}

#[test]
fn there_is_no_host_on_this_machine() {
    let error = Graph::by_name("default").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("wasm32-wasip1"));
}
