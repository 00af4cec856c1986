use std::num::NonZeroUsize;

use serde_json::json;

use super::*;
use crate::listing::Span;

fn namespace(text: &str) -> Namespace {
    Namespace::new(text.split_terminator('/')).unwrap()
}

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(object) = value else { panic!("{value} is an object") };
    object
}

fn put(namespace_: &str, key: &str, value: Value) -> Put {
    let id = Id { namespace: namespace(namespace_), key: key.to_owned() };
    Put { id, value: object(value), index: Index::All, ttl: None }
}

#[test]
fn a_namespace_is_read_as_it_was_written() {
    for text in ["", "a", "a/b", "users/ann-1/notes", "ä/ /*"] {
        let namespace = namespace(text);
        assert_eq!(Namespace::read(namespace.as_str()), Ok(namespace.clone()));
        assert_eq!(namespace.labels().collect::<Vec<_>>().join("/"), text);
    }
    for wrong in ["a", "a..", ".", "a.\u{1}."] {
        assert!(Namespace::read(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn labels_that_would_be_ambiguous_are_refused() {
    let check = |labels: &[&str], says: &str| {
        let problem = Namespace::new(labels).unwrap_err().to_string();
        assert!(problem.contains(says), "{problem}");
    };
    check(&["a", ""], "label 2");
    check(&["a.b"], "dots");
    check(&["a\nb"], "control");
    check(&[&"x".repeat(LABEL_BYTES_MAX + 1)], "longer than");
    check(&["a"; LABELS_MAX + 1], "at most");
    check(&[&*"x".repeat(LABEL_BYTES_MAX); 4], "longer than 1024");
}

#[test]
fn a_range_of_texts_is_what_a_namespace_contains() {
    let all = ["a", "a/b", "a/b/c", "ab", "a-b", "a b/c", "b", "á", "a/-"].map(namespace);
    for outer in all.iter().chain([&Namespace::default()]) {
        for inner in &all {
            let labels: Vec<_> = outer.labels().collect();
            let expected = inner.labels().collect::<Vec<_>>().starts_with(&labels);
            assert_eq!(outer.contains(inner), expected, "{outer:?} {inner:?}");
            let in_range = (outer.as_str()..&outer.end()).contains(&inner.as_str());
            assert_eq!(in_range, expected, "{outer:?} {inner:?}");
        }
    }
}

#[test]
fn namespaces_are_listed_as_they_are_wanted() {
    let check = |(prefix, suffix): (&str, &str), depth, (offset, limit), expected: &[&str]| {
        let mut all = ["a/x/1", "a/x/2", "a/y/1", "a", "b/x/1"].map(namespace);
        all.sort();
        let wanted = Namespaces {
            prefix: namespace(prefix),
            suffix: namespace(suffix),
            depth_max: NonZeroUsize::new(depth),
            span: Span::new(offset, limit).unwrap(),
        };
        let mut outline = Outline::new(&wanted);
        for namespace in all.iter().filter(|namespace| wanted.within().contains(namespace)) {
            if outline.offer(namespace).is_break() {
                break;
            }
        }
        let expected: Vec<_> = expected.iter().map(|text| namespace(text)).collect();
        assert_eq!(outline.finish(), expected);
    };
    check(("", ""), 0, (0, 9), &["a", "a/x/1", "a/x/2", "a/y/1", "b/x/1"]);
    check(("", ""), 1, (0, 9), &["a", "b"]);
    check(("a", ""), 2, (0, 9), &["a", "a/x", "a/y"]);
    check(("", "1"), 0, (1, 1), &["a/y/1"]);
    check(("*/x", ""), 0, (0, 9), &["a/x/1", "a/x/2", "b/x/1"]);
    check(("a", "*/2"), 0, (0, 9), &["a/x/2"]);
    check(("a/x/1/z", ""), 0, (0, 9), &[]);
    check(("", ""), 0, (0, 0), &[]);
}

#[test]
fn a_filter_lets_through_what_passes_every_test() {
    let value = object(json!({
        "kind": "note", "size": 3, "ratio": 0.5, "by": {"name": "ann", "age": 7}, "tags": ["a", 1],
    }));
    let check = |filter: Value, expected: bool| {
        let filter = Filter::parse(&object(filter)).unwrap();
        assert_eq!(filter.matches(&value), expected, "{filter:?}");
    };
    check(json!({}), true);
    check(json!({"kind": "note", "size": 3.0}), true);
    check(json!({"kind": "note", "size": 4}), false);
    check(json!({"by": {"name": "ann"}}), true);
    check(json!({"by": {"name": "bob"}}), false);
    check(json!({"by": {"name": {"first": "ann"}}}), false);
    check(json!({"by": {"age": {"$gt": 6, "$lte": 7}}}), true);
    check(json!({"size": {"$gt": 3}}), false);
    check(json!({"size": {"$gte": 3}}), true);
    check(json!({"ratio": {"$lt": 1}}), true);
    check(json!({"kind": {"$lt": "z"}}), true);
    check(json!({"kind": {"$gt": 1}}), false);
    check(json!({"kind": {"$ne": "task"}}), true);
    check(json!({"tags": ["a", 1.0]}), true);
    check(json!({"tags": ["a"]}), false);
    check(json!({"none": null}), true);
    check(json!({"none": {"$ne": 1}}), true);
    check(json!({"none": {"$gt": 1}}), false);
    check(json!({"none": {}}), false);
    check(json!({"by": {"$eq": {"age": 7, "name": "ann"}}}), true);
}

#[test]
fn a_filter_that_means_nothing_says_what_is_wrong() {
    let check = |filter: Value, says: &str| {
        let problem = Filter::parse(&object(filter)).unwrap_err().to_string();
        assert!(problem.contains(says), "{problem}");
    };
    check(json!({"a": {"$in": [1]}}), "`$in` of the filter on `a` is no operator");
    check(json!({"a": {"$eq": 1, "b": 2}}), "`b` of the filter");
    check(json!({"$gt": 1}), "stands where the filter names a field");
    check(json!({"a": {"$gt": true}}), "a number or a text only");
    let mut deep = json!({"x": 1});
    for _ in 0..20 {
        deep = json!({"x": deep});
    }
    check(deep, "nested deeper");
    let many: Map<_, _> = (0..101).map(|number| (number.to_string(), json!(1))).collect();
    check(Value::Object(many), "more than 100 tests");
}

fn found(query: &str, items: &[(&str, Value, Index)]) -> Vec<(String, f64)> {
    let search = Search {
        prefix: Namespace::default(),
        filter: Filter::default(),
        query: Words::new(query),
        span: Span::new(0, 10).unwrap(),
    };
    let mut hits = Hits::new(&search);
    for (second, (key, value, index)) in (0..).zip(items) {
        let at = Timestamp::from_seconds(second);
        hits.offer(Item {
            id: Id { namespace: namespace("a"), key: (*key).to_owned() },
            value: object(value.clone()),
            index: index.clone(),
            created: at,
            updated: at,
            ttl: None,
            expires: None,
        });
    }
    let shown = |hit: Hit| (hit.item.id.key, hit.score.unwrap_or(-1.0));
    hits.finish().into_iter().map(shown).collect()
}

#[test]
fn what_has_more_of_the_words_comes_first() {
    let check = |query: &str, expected: &[(&str, f64)]| {
        let fields =
            |paths: &[&str]| Index::Fields(paths.iter().map(ToString::to_string).collect());
        let hits = found(
            query,
            &[
                ("food", json!({"text": "Ann likes Italian food."}), Index::All),
                (
                    "deep",
                    json!({"notes": [{"by": "ann", "text": "invoices"}], "no": 17}),
                    Index::All,
                ),
                ("hidden", json!({"text": "ann"}), Index::Nothing),
                ("fields", json!({"a": {"b": "ann"}, "c": "food"}), fields(&["a.b"])),
                ("list", json!({"a": [{"b": "日本語の本"}]}), fields(&["a[*].b"])),
            ],
        );
        let hits: Vec<_> = hits.iter().map(|(key, score)| (&**key, *score)).collect();
        assert_eq!(hits, expected, "{query}");
    };
    check("ANN's food", &[("food", 2.0 / 3.0), ("fields", 1.0 / 3.0), ("deep", 1.0 / 3.0)]);
    check("invoice", &[("deep", 0.5)]);
    check("in", &[]);
    check("17", &[("deep", 1.0)]);
    check("本語", &[("list", 0.5)]);
    check("nothing of it", &[]);
    let all = ["list", "fields", "hidden", "deep", "food"].map(|key| (key, -1.0));
    check(" ?! ", &all);
}

#[test]
fn a_batch_keeps_the_last_write_of_each_item_within_bounds() {
    let delete = |key: &str| Write::Delete(Id { namespace: namespace("a"), key: key.to_owned() });
    let batch = Batch::new(vec![
        Write::Put(put("a", "x", json!({"n": 1}))),
        delete("y"),
        Write::Put(put("a", "x", json!({"n": 2}))),
        Write::Put(put("a", "z", json!({"n": 3}))),
        delete("z"),
    ]);
    let batch = batch.unwrap();
    let shown: Vec<_> = batch
        .iter()
        .map(|(id, checked)| (id.key.as_str(), checked.map(|checked| checked.json.as_str())))
        .collect();
    assert_eq!(shown, [("x", Some(r#"{"n":2}"#)), ("y", None), ("z", None)]);

    let check = |put: Put, says: &str| {
        let problem = Batch::new(vec![Write::Put(put)]).unwrap_err().to_string();
        assert!(problem.contains(says), "{problem}");
    };
    let value = || json!({});
    check(put("", "x", value()), "`namespace` is empty");
    check(put("a", "", value()), "`key` is empty");
    check(put("a", "a\0", value()), "NUL");
    check(put("a", "x", json!({"x": "y".repeat(VALUE_BYTES_MAX)})), "keep it within");
    check(Put { ttl: Some(Duration::ZERO), ..put("a", "x", value()) }, "less than a second");
    let many = Index::Fields(vec!["a".to_owned(); FIELDS_MAX + 1]);
    check(Put { index: many, ..put("a", "x", value()) }, "more than 32 fields");
    let large = |key: u32| put("a", &key.to_string(), json!({"x": "y".repeat(500_000)}));
    let problem = Batch::new((0..20).map(|key| Write::Put(large(key))).collect()).unwrap_err();
    assert!(problem.to_string().contains("several batches"), "{problem}");
    assert!(Batch::new(vec![delete("x"); WRITES_MAX + 1]).is_err());
}
