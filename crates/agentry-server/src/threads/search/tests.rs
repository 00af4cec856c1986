use serde_json::json;

use super::*;

#[test]
fn values_are_found_at_their_paths() {
    let whole = json!({
        "values": { "messages": [{ "content": "first" }, { "content": "last" }], "rows": [[1, 2], [3]] },
        "metadata": { "k": "v" },
    });
    let check = |path: &str, expected: Value| {
        let paths = Map::from_iter([("it".to_owned(), path.into())]);
        assert_eq!(extract(&whole, &paths), json!({ "it": expected }), "{path}");
    };
    check("metadata.k", json!("v"));
    check("values.messages[0].content", json!("first"));
    check("values.messages[-1].content", json!("last"));
    check("values.rows[0][1]", json!(2));
    for nothing in ["values.messages[2]", "values.messages[-3]", "values.none", "metadata.k[0]", ""]
    {
        check(nothing, Value::Null);
    }
}
