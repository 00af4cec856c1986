use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn inputs_are_texts_or_tokens() {
    let text = |text: &str| EmbeddingInput::Text(text.to_owned());
    for (input, expected) in [
        (json!("a"), Ok(vec![text("a")])),
        (json!(["a", "b"]), Ok(vec![text("a"), text("b")])),
        (json!([1, 2]), Ok(vec![EmbeddingInput::Tokens(vec![1, 2])])),
        (
            json!([[1], [2]]),
            Ok(vec![EmbeddingInput::Tokens(vec![1]), EmbeddingInput::Tokens(vec![2])]),
        ),
        (json!([]), Err("input")),
        (json!(null), Err("input")),
        (json!({}), Err("input")),
        (json!(["a", null]), Err("input[1]")),
        (json!([1, -2]), Err("input")),
        (json!([[1], []]), Err("input[1]")),
    ] {
        let found = request(json!({ "model": "m", "input": input }));
        let found = found.map(|request| request.input).map_err(|error| error.param);
        assert_eq!(found, expected.map_err(str::to_owned), "{input}");
    }
    for (body, param) in [
        (json!("x"), ""),
        (json!({ "input": "a" }), "model"),
        (json!({ "model": "m", "input": "a", "dimensions": 0 }), "dimensions"),
        (json!({ "model": "m", "input": "a", "encoding_format": 1 }), "encoding_format"),
    ] {
        assert_eq!(request(body.clone()).unwrap_err().param, param, "{body}");
    }
}

#[test]
fn what_was_asked_is_what_is_sent() {
    let asked = json!({ "model": "m", "input": ["a", [1, 2]], "dimensions": 3,
        "encoding_format": "base64", "user": "u", "input_type": "query" });
    let sent = body(&request(asked.clone()).unwrap()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&sent).unwrap(), asked);
}

fn answer(vectors: Vec<Vector>) -> EmbeddingResponse {
    EmbeddingResponse {
        model: "m-1".to_owned(),
        vectors,
        usage: Some(Usage::new(5, 0)),
        extra: Map::new(),
    }
}

#[test]
fn an_answer_is_read_in_the_order_of_its_inputs() {
    let body = br#"{"object":"list","model":"m-1","usage":{"prompt_tokens":5,"total_tokens":5},"data":[
        {"index":1,"embedding":"AACAPwAAAMA="},{"index":0,"embedding":[0.5,-1e-3,2]},{"index":2,"embedding":[1,-2]}]}"#;
    let found = response(body, "m").unwrap();
    assert_eq!(
        found.vectors,
        [
            Vector::Floats(vec![0.5, -1e-3, 2.0]),
            Vector::Base64("AACAPwAAAMA=".to_owned()),
            Vector::Other(json!([1, -2])),
        ]
    );
    assert_eq!((found.model.as_str(), found.usage.unwrap().input_tokens), ("m-1", 5));
    for (body, expected) in [
        (r#"{"error":{"message":"full","code":429}}"#, "rate limit is reached: full"),
        (r#"{"data":[{"index":1,"embedding":[0.5]}]}"#, "numbered"),
        (r#"{"data":[{"index":0,"embedding":[0.5,"x"]}]}"#, "a vector"),
        ("{}", "no data"),
        ("<html>", "unreadable"),
    ] {
        let error = response(body.as_bytes(), "m").unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_vector_has_the_form_that_was_asked_for() {
    let floats = || Vector::Floats(vec![1.0, -2.0]);
    let base64 = || Vector::Base64("AACAPwAAAMA=".to_owned());
    let (written, packed) = (json!([1.0, -2.0]), json!("AACAPwAAAMA="));
    for (vector, format, expected) in [
        (floats(), None, &written),
        (floats(), Some("float"), &written),
        (floats(), Some("base64"), &packed),
        (base64(), None, &written),
        (base64(), Some("float"), &written),
        (base64(), Some("base64"), &packed),
        (Vector::Other(json!([1])), Some("base64"), &json!([1])),
        (Vector::Base64("?".to_owned()), None, &json!("?")),
    ] {
        let told: Value = serde_json::from_slice(&whole(&answer(vec![vector]), format)).unwrap();
        let expected = json!({ "object": "list", "model": "m-1",
            "data": [{ "object": "embedding", "index": 0, "embedding": expected }],
            "usage": { "prompt_tokens": 5, "total_tokens": 5 } });
        assert_eq!(told, expected);
    }
}

proptest! {
    #[test]
    fn base64_loses_nothing(floats in prop::collection::vec(any::<f32>().prop_filter("a number", |f| f.is_finite()), 0..20)) {
        let packed = Vector::Base64(to_base64(&floats));
        let unpacked = crate::embeddings::floats(&packed).unwrap().into_owned();
        prop_assert_eq!(unpacked, floats);
    }

    #[test]
    fn no_request_makes_it_panic(input in crate::testing::any_json()) {
        if let Ok(request) = request(json!({ "model": "m", "input": input })) {
            prop_assert!(!request.input.is_empty());
            prop_assert!(body(&request).is_ok());
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[\\[\\]{}\",:0-9a-z.]{0,60}") {
        let _ = response(&bytes, "m");
        let body = format!(r#"{{"data":[{{"index":0,"embedding":{text}}}]}}"#);
        let _ = response(body.as_bytes(), "m");
        let _ = floats(&Vector::Base64(text));
    }
}
